//! Connections: how many, how long, how large. One thread each, one request each. Knows no page.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::client::{Client, LINGER};
use super::response::{Response, Status, stream_head};
use super::{Answer, Ui, events, page};

/// Connections at once. When there are more, the one that has kept its request to itself for longest is ended.
const MOST_CONNECTIONS: usize = 32;
/// Of these, streams of events: pages get through whatever is followed.
const MOST_STREAMS: usize = 24;
/// Connections beyond these that are told so at once; any more are closed.
const MOST_REFUSALS: usize = 16;
/// A request must be here after this.
const LONGEST_REQUEST: Duration = Duration::from_secs(2);
/// After a connection that could not be taken, because something ran out.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes connections for as long as the process lasts.
pub(super) fn serve(listener: &TcpListener, ui: &Arc<Ui>) {
    let (connections, streams) = (Slots::new(MOST_CONNECTIONS), Slots::new(MOST_STREAMS));
    let (silent, refusals) = (Silent::default(), Slots::new(MOST_REFUSALS));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            std::thread::sleep(PAUSE);
            continue;
        };
        // A client that goes away is none of our business, and where there is no thread the connection is closed.
        let thread = std::thread::Builder::new().name("pipe ui".into());
        if let Some(slot) = connections.take().or_else(|| silent.end_oldest()) {
            let stream = Arc::new(stream);
            let number = silent.add(Arc::clone(&stream), slot);
            let (ui, streams, others) = (Arc::clone(ui), streams.clone(), silent.clone());
            let started = thread.spawn(move || {
                let mut client = Client::new(&stream);
                let head = client.head(LONGEST_REQUEST);
                if let (Some(_slot), Ok(Some(head))) = (others.speaks(number), head) {
                    let _ = answer(&mut client, &head, &ui, &streams);
                }
            });
            if started.is_err() {
                silent.speaks(number);
            }
        } else if let Some(slot) = refusals.take() {
            let _ = thread.spawn(move || {
                let _slot = slot;
                let _ = turn_away(&stream);
            });
        }
    }
}

fn turn_away(stream: &TcpStream) -> io::Result<()> {
    let mut client = Client::new(stream);
    if client.head(LINGER)?.is_some() {
        client.send(&busy().bytes(false))?;
    }
    client.close()
}

fn busy() -> Response {
    let message = "Too many pages of this are open at once: close some, and reload.";
    Response::page(Status::Busy, page::notice("Too many pages", message, None))
}

fn answer(client: &mut Client<'_>, head: &[u8], ui: &Ui, streams: &Slots) -> io::Result<()> {
    match ui.answer(head) {
        Answer::Page { response, head_only } => client.send(&response.bytes(head_only))?,
        Answer::Stream { head_only: true, .. } => client.send(&stream_head())?,
        Answer::Stream { subject, head_only: false } => match streams.take() {
            Some(_slot) => {
                client.send(&stream_head())?;
                return events::tell(subject, ui, client);
            }
            None => client.send(&busy().bytes(false))?,
        },
    }
    client.close()
}

/// Places of which there are only so many.
#[derive(Clone)]
struct Slots {
    free: Arc<AtomicUsize>,
}

/// One of them, given back when dropped.
struct Slot {
    free: Arc<AtomicUsize>,
}

impl Slots {
    fn new(count: usize) -> Self {
        Self { free: Arc::new(AtomicUsize::new(count)) }
    }

    fn take(&self) -> Option<Slot> {
        let less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(Slot { free: Arc::clone(&self.free) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connections whose requests are not here yet, each with the place that it takes.
#[derive(Clone, Default)]
struct Silent {
    state: Arc<Mutex<SilentState>>,
}

#[derive(Default)]
struct SilentState {
    next: u64,
    connections: BTreeMap<u64, (Arc<TcpStream>, Slot)>,
}

impl Silent {
    fn state(&self) -> MutexGuard<'_, SilentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, and its number.
    fn add(&self, stream: Arc<TcpStream>, slot: Slot) -> u64 {
        let mut state = self.state();
        let number = state.next;
        state.next = number.wrapping_add(1);
        state.connections.insert(number, (stream, slot));
        number
    }

    /// One has said what it wants, or will never say: gives it its place, unless that was given to another.
    fn speaks(&self, number: u64) -> Option<Slot> {
        self.state().connections.remove(&number).map(|(_, slot)| slot)
    }

    /// Ends the one that is silent for longest and gives its place.
    fn end_oldest(&self) -> Option<Slot> {
        let (_, (stream, slot)) = self.state().connections.pop_first()?;
        // One that has gone already has ended, too.
        let _ = stream.shutdown(Shutdown::Both);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_slots() {
        let slots = Slots::new(2);
        let taken = (slots.take(), slots.clone().take());
        assert!(taken.0.is_some() && taken.1.is_some() && slots.take().is_none());
        drop(taken.0);
        assert!(slots.take().is_some() && slots.take().is_some(), "one that is dropped is free");
    }
}
