//! `pipe ui`: the pages of the report and of past runs, served to a browser on this machine, live while a run goes on. Reads
//! what runs leave in the store, as any other process could; runs nothing and writes nothing.
//!
//! **Who is answered.** The server listens on the loopback address only, and other users and other pages in the browser reach
//! that too. So a request needs a random token, once in its address, later another random value in a cookie; it must not be
//! one that a page of another address or port made the browser send; it must name this host, or a page elsewhere could give
//! its own name this address; and pages may load and run nothing but what the server's headers name by digest. Browsers
//! keep cookies by host, not by port: whatever else is opened on this host gets the cookie, so it is not the token.

mod client;
mod events;
mod home;
mod live;
mod log;
mod page;
mod request;
mod response;
mod runs;
mod server;
mod token;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use history::{FindError, History, Past};
use maud::html;
use pipeline::StageName;
use store::{Store, StoreError};

use self::events::Subject;
use self::home::Home;
use self::log::{LogFollower, Shown};
use self::request::{Request, encode};
use self::response::{Response, Status};
use self::token::Token;
use crate::error::Error;

/// A server that has its address and answers nobody yet.
pub struct Server {
    listener: TcpListener,
    ui: Arc<Ui>,
}

impl Server {
    /// Takes a port of the loopback address, any that is free for 0. `file` is the pipeline, `cache` the folder of a cache
    /// shared with others.
    ///
    /// # Errors
    /// When the port cannot be had, or the system has no random bytes.
    pub fn bind(file: PathBuf, cache: Option<PathBuf>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let (token, session) = (Token::new()?, Token::new()?);
        Ok(Self { listener, ui: Arc::new(Ui { file, cache, port, token, session }) })
    }

    /// The address to open first, with the token.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/?token={}", self.ui.port, self.ui.token.text())
    }

    /// Answers for as long as the process lasts.
    pub fn serve(&self) {
        server::serve(&self.listener, &self.ui);
    }
}

/// What answers are made from.
struct Ui {
    file: PathBuf,
    cache: Option<PathBuf>,
    port: u16,
    /// In the address that is printed.
    token: Token,
    /// In the cookie.
    session: Token,
}

/// What a client gets.
enum Answer {
    /// A page, or only its head.
    Page { response: Response, head_only: bool },
    /// Events, or only their head.
    Stream { subject: Subject, head_only: bool },
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self::Page { response, head_only: false }
    }
}

impl Answer {
    fn with_head_only(self, head_only: bool) -> Self {
        match self {
            Self::Page { response, .. } => Self::Page { response, head_only },
            Self::Stream { subject, .. } => Self::Stream { subject, head_only },
        }
    }
}

impl Ui {
    /// Answers a request, of which this is the head.
    fn answer(&self, head: &[u8]) -> Answer {
        match request::parse(head, self.port) {
            Ok(request) => self.admit(&request).with_head_only(request.head_only),
            Err(refusal) => {
                Response::page(refusal.status(), page::notice("Refused", refusal.message(), None)).into()
            }
        }
    }

    fn admit(&self, request: &Request) -> Answer {
        let cookie = self.cookie();
        if let Some(token) = request.query("token") {
            if !self.token.is(token) {
                return self.forbidden().into();
            }
            let mut response = Response::redirect(request.clean_path());
            let cookie = format!("{cookie}={}; Path=/; HttpOnly; SameSite=Strict", self.session.text());
            response.headers.push(("Set-Cookie", cookie));
            return response.into();
        }
        let mut given = request.cookies.iter().filter(|(name, _)| *name == cookie);
        if given.any(|(_, value)| self.session.is(value)) {
            self.route(request)
        } else {
            self.forbidden().into()
        }
    }

    /// Name of the cookie. Those of all ports are sent to each.
    fn cookie(&self) -> String {
        format!("pipe-ui-{}", self.port)
    }

    fn forbidden(&self) -> Response {
        let message = format!(
            "This needs the token that `pipe ui` printed. Open the whole address: http://127.0.0.1:{}/?token=…",
            self.port
        );
        let hint = "Each start of `pipe ui` has a token of its own.";
        Response::page(Status::Forbidden, page::notice("Not without the token", &message, Some(hint)))
    }

    fn route(&self, request: &Request) -> Answer {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let made = match path.as_slice() {
            [] => self.home(request).map(Answer::from),
            ["runs", name] => self.run(name).map(Answer::from),
            ["compare"] => self.chosen(request).map(Answer::from),
            ["compare", old, new] => self.compare(old, new).map(Answer::from),
            ["stages", stage, "log"] => self.log(stage).map(Answer::from),
            ["events"] => events(request),
            _ => Err(Problem::nothing("There is no such page.")),
        };
        made.unwrap_or_else(|problem| problem.response().into())
    }

    /// The store as it is now: what one has read, it knows for as long as it is there.
    fn store(&self) -> Result<Store, StoreError> {
        let root = self.file.parent().unwrap_or(&self.file);
        Ok(Store::open(root)?.sharing(self.cache.as_deref()))
    }

    fn home(&self, request: &Request) -> Result<Response, Problem> {
        let folder = self.file.parent().and_then(|folder| folder.file_name());
        let folder = folder.map_or_else(|| "pipe".into(), |name| name.to_string_lossy().into_owned());
        let home = Home::new(request.query("all").is_some());
        Ok(Response::page(Status::Ok, home.page(&self.store()?, text::clock::now_ms(), &folder)))
    }

    fn run(&self, name: &str) -> Result<Response, Problem> {
        let store = self.store()?;
        let history = History::load(&store)?;
        let past = history.find(name)?;
        let before = history.before(past);
        let above = html! {
            p.small {
                a href="/" { "All runs" } " · run " code { (past.name) }
                @if let Some(before) = before {
                    " · " a href={ "/compare/" (encode(before.name.as_str())) "/" (encode(past.name.as_str())) } {
                        "compare with the run before"
                    }
                }
            }
        };
        Ok(Response::report(report::of_past(&store, &history, past, &above)))
    }

    /// To the comparison of two runs that were chosen in a list, the earlier one first.
    fn chosen(&self, request: &Request) -> Result<Response, Problem> {
        let names = request.query.iter().filter(|(name, _)| name == "run").map(|(_, value)| value);
        let history = History::load(&self.store()?)?;
        let mut chosen = names.map(|name| history.find(name)).collect::<Result<Vec<&Past>, _>>()?;
        let [one, other] = chosen.as_mut_slice() else {
            let count = text::format::count(chosen.len(), "run");
            return Err(Problem::wrong(&format!("Choose two runs to compare: {count} were chosen.")));
        };
        if one.record.id > other.record.id {
            std::mem::swap(one, other);
        }
        let [old, new] = [one, other].map(|run| encode(run.name.as_str()));
        Ok(Response::redirect(format!("/compare/{old}/{new}")))
    }

    fn compare(&self, old: &str, new: &str) -> Result<Response, Problem> {
        let store = self.store()?;
        let history = History::load(&store)?;
        let (old, new) = (history.find(old)?, history.find(new)?);
        let above = html! {
            p.small {
                a href="/" { "All runs" }
                @for (word, run) in [("old", old), ("new", new)] {
                    " · " (word) " " a href={ "/runs/" (encode(run.name.as_str())) } { code { (run.name) } }
                }
            }
        };
        Ok(Response::report(report::of_two(&store, &history, old, new, &above)))
    }

    fn log(&self, stage: &str) -> Result<Response, Problem> {
        let stage = StageName::try_from(stage.to_owned()).map_err(|error| Problem::nothing(&error))?;
        let page = log::page(&self.store()?, &stage);
        match page
            .map_err(|error| Problem::from(Error::failed(format!("the log cannot be read: {error}"))))?
        {
            Some(page) => Ok(Response::page(Status::Ok, page)),
            None => Err(Problem::nothing(&format!("Stage `{stage}` has no log: it never ran here."))),
        }
    }
}

fn events(request: &Request) -> Result<Answer, Problem> {
    let subject = match request.query("log") {
        Some(stage) => {
            let stage = StageName::try_from(stage.to_owned()).map_err(|error| Problem::nothing(&error))?;
            // The page's own address stays what it was when it was made.
            let shown = request.last_event.as_deref().or(request.query("from"));
            let shown = shown.and_then(|shown| shown.parse::<Shown>().ok());
            Subject::Log(Box::new(LogFollower::new(stage, shown.unwrap_or_default())))
        }
        None => Subject::Home(Box::new(Home::new(request.query("all").is_some()))),
    };
    Ok(Answer::Stream { subject, head_only: false })
}

/// Why there is no page.
struct Problem {
    status: Status,
    title: &'static str,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// There is nothing of that name.
    fn nothing(message: &str) -> Self {
        Self { status: Status::NotFound, title: "Not found", message: message.into(), hint: None }
    }

    /// The request asks for what cannot be.
    fn wrong(message: &str) -> Self {
        Self { status: Status::BadRequest, title: "Not possible", message: message.into(), hint: None }
    }

    fn response(&self) -> Response {
        Response::page(self.status, page::notice(self.title, &self.message, self.hint.as_deref()))
    }
}

impl From<FindError> for Problem {
    fn from(error: FindError) -> Self {
        Self { hint: Some(error.hint().into()), ..Self::nothing(&error.to_string()) }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (message, hint) = error.into_parts();
        Self { status: Status::Failed, title: "This page cannot be made", message, hint }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests;
