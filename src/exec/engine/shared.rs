//! A cache that other runs use at the same time: a key is executed by one of them, the others wait for its outcome.

use std::thread::Scope;

use pipeline::StageName;
use pipeline::graph::StageId;
use record::event::Event;
use store::{KeyLock, Lookup, Miss, TryKey};

use super::{Engine, Message};
use crate::error::Error;

/// Whose a key is, among the runs that share a cache.
pub(super) enum Claim {
    /// Ours to execute; the lock is there where the cache is shared.
    Ours(Option<KeyLock>),
    /// Somebody else executes it.
    Theirs(String),
    /// Its outcome is in the cache by now.
    Done,
}

impl<'a> Engine<'a> {
    /// In a cache that others use, makes sure that nobody else executes the key, or has done so meanwhile.
    pub(super) fn claim(&self, miss: &Miss) -> Result<Claim, Error> {
        let store = &self.project.store;
        if !store.is_shared() {
            return Ok(Claim::Ours(None));
        }
        match store.try_key(&miss.key().digest())? {
            TryKey::Held { by } => Ok(Claim::Theirs(by)),
            TryKey::Free(lock) => match store.lookup(miss.stage(), miss.key().clone()) {
                Lookup::Hit(_) if !self.is_forced(miss.stage()) => Ok(Claim::Done),
                _ => Ok(Claim::Ours(Some(lock))),
            },
        }
    }

    fn is_forced(&self, stage: &StageName) -> bool {
        self.project.pipeline.id(stage).is_some_and(|id| self.forced.contains(&id))
    }

    pub(super) fn wait_elsewhere<'scope>(
        &mut self,
        id: StageId,
        miss: &Miss,
        holder: &str,
        scope: &'scope Scope<'scope, '_>,
    ) where
        'a: 'scope,
    {
        if self.elsewhere.insert(id) {
            let message =
                format!("`{}` is waiting for {holder}, which is executing the same key", miss.stage());
            (self.emit)(Event::Notice { message });
        }
        let (sender, key, project, stopping) =
            (self.sender.clone(), miss.key().digest(), self.project, self.stopping);
        scope.spawn(move || {
            project.store.await_key(&key, || stopping.is_stopping());
            drop(sender.send(Message::KeyFree(id)));
        });
    }
}
