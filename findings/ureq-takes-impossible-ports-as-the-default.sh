#!/usr/bin/env bash
# A URL with a port above 65535 is fetched by `ureq` from the scheme's own port, as if no port had been given.
#
# Versions: ureq 3.5.2, http 1 (as ureq takes it); Linux.
# A good guess: an error, as the URL Standard, curl ("Port number was not a decimal number between 0 and 65535") and the
#   crate `url` have it; at worst an attempt to connect that fails.
# Seen: `http::Uri` parses `http://h:99999/x`, its `port_u16()` is none, and ureq takes none for "no port": the request goes
#   to port 80, also where a redirect led there. Whoever answers on port 80 is taken for the server that was meant.
# Remedy: look at the port by yourself before the request, and follow redirects by yourself (`max_redirects(0)`).
#
# Exit code 0 while this is so, 1 when it has changed. Builds in a temporary folder. Names lead to a server of the same
# program, by a resolver that ureq asks and that writes down the host and port that ureq's own would look up.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "ports"
version = "0.0.0"
edition = "2024"
[dependencies]
ureq = { version = "=3.5.2", default-features = false }
TOML
cat > src/main.rs <<'RUST'
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Leads everything to one server, and remembers where it was to lead.
#[derive(Debug, Clone)]
struct Leads {
    server: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Resolver for Leads {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (scheme, authority) = (uri.scheme().unwrap(), uri.authority().unwrap());
        let meant = ureq::unversioned::resolver::DefaultResolver::host_and_port(scheme, authority);
        self.asked.lock().unwrap().push(meant.unwrap_or_default());
        let mut found = self.empty();
        found.push(self.server);
        Ok(found)
    }
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let first = BufReader::new(stream.try_clone().unwrap()).lines().next().unwrap().unwrap();
            let answer = if first.contains("/moved") {
                "302 Found\r\nLocation: http://h.test:70000/x\r\nContent-Length: 0"
            } else {
                "200 OK\r\nContent-Length: 2"
            };
            write!(stream, "HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n").unwrap();
            if answer.starts_with("200") {
                stream.write_all(b"hi").unwrap();
            }
        }
    });
    let leads = Leads { server, asked: Arc::default() };
    let agent = ureq::Agent::with_parts(
        ureq::Agent::config_builder().proxy(None).build(),
        DefaultConnector::default(),
        leads.clone(),
    );
    for url in ["http://h.test:99999/x", "http://h.test:8080/moved"] {
        let answer = agent.get(url).call().map(|answer| answer.status().as_u16());
        let asked = std::mem::take(&mut *leads.asked.lock().unwrap());
        println!("{url}: {answer:?}, asked {}", asked.join(", then "));
    }
}
RUST
cargo run --quiet > seen
cat seen
diff - seen <<'EXPECTED'
http://h.test:99999/x: Ok(200), asked h.test:80
http://h.test:8080/moved: Ok(200), asked h.test:8080, then h.test:80
EXPECTED
