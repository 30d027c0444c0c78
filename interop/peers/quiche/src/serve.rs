//! A server: connections over one socket, HTTP/3 or HTTP/0.9 on each.

use crate::line::{accepted, reason};
use crate::{broken, flush, is_passing, random, receive, RECEIVED};
use quiche::h3::{self, Event, Header, NameValue};
use quiche::{ConnectionId, PathEvent, Shutdown, Type};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const AT_ONCE: usize = 64;
/// When nothing else is due.
const IDLE: Duration = Duration::from_secs(60);
const LINE: usize = 4096;

/// A request, all of which has come.
#[derive(Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Bytes of its body.
    pub received: usize,
}

/// What is answered; nothing if there is no such thing.
pub type Answer<'a> = &'a dyn Fn(&Asked) -> Option<Vec<u8>>;

/// What is still to be sent on a stream.
struct Rest {
    content: Vec<u8>,
    sent: usize,
    /// Over HTTP/3, until it has left.
    head: Option<Vec<Header>>,
}

impl Rest {
    fn new(content: Option<Vec<u8>>) -> Self {
        let status = if content.is_some() { "200" } else { "404" };
        let content = content.unwrap_or_default();
        let length = content.len().to_string();
        let head = vec![Header::new(b":status", status.as_bytes()), Header::new(b"content-length", length.as_bytes())];
        Self { content, sent: 0, head: Some(head) }
    }
}

struct Client {
    quic: quiche::Connection,
    http3: Option<h3::Connection>,
    asked: HashMap<u64, Asked>,
    rests: HashMap<u64, Rest>,
    told: Told,
}

/// What of a connection is in the log.
#[derive(Default)]
struct Told {
    kind: bool,
    end: bool,
}

impl Client {
    fn new(quic: quiche::Connection) -> Self {
        Self { quic, http3: None, asked: HashMap::new(), rests: HashMap::new(), told: Told::default() }
    }

    fn turn(&mut self, answer: Answer<'_>) {
        while let Some(event) = self.quic.path_event_next() {
            if let PathEvent::New(local, peer) = event {
                // It may be without an id for that.
                if let Err(error) = self.quic.probe_path(local, peer) {
                    eprintln!("probing {peer}: {error}");
                }
            }
        }
        if self.quic.is_established() || self.quic.is_in_early_data() {
            if self.quic.application_proto() == b"h3" {
                if let Err(error) = self.over_http3(answer) {
                    eprintln!("HTTP/3: {error}");
                }
            } else {
                self.over_http09(answer);
            }
        }
        self.log();
    }

    fn log(&mut self) {
        if self.quic.is_established() && !self.told.kind {
            self.told.kind = true;
            let kind = if self.quic.is_resumed() { "resumed" } else { "full" };
            let early = if accepted(self.quic.as_mut()) { "accepted" } else { reason(self.quic.as_mut()) };
            eprintln!("{kind} early={early}");
        }
        if let Some(error) = self.quic.peer_error().filter(|_| !self.told.end) {
            self.told.end = true;
            // RFC 9001 section 4.8.
            match error.error_code.checked_sub(0x100).filter(|alert| !error.is_app && *alert < 0x100) {
                Some(alert) => eprintln!("alert {alert}"),
                None => eprintln!("closed: {:#x}", error.error_code),
            }
        }
    }

    fn over_http3(&mut self, answer: Answer<'_>) -> h3::Result<()> {
        let http3 = match &mut self.http3 {
            Some(http3) => http3,
            none => none.insert(h3::Connection::with_transport(&mut self.quic, &h3::Config::new()?)?),
        };
        loop {
            match http3.poll(&mut self.quic) {
                Ok((stream, Event::Headers { list, .. })) => {
                    let field = |name: &[u8]| {
                        let found = list.iter().find(|field| field.name() == name);
                        found.map(|field| String::from_utf8_lossy(field.value()).into_owned()).unwrap_or_default()
                    };
                    self.asked.insert(stream, Asked { method: field(b":method"), path: field(b":path"), received: 0 });
                }
                Ok((stream, Event::Data)) => {
                    let mut piece = [0; 16384];
                    while let Ok(more) = http3.recv_body(&mut self.quic, stream, &mut piece) {
                        if let Some(asked) = self.asked.get_mut(&stream) {
                            asked.received += more;
                        }
                    }
                }
                Ok((stream, Event::Finished)) => {
                    if let Some(asked) = self.asked.remove(&stream) {
                        self.rests.insert(stream, Rest::new(answer(&asked)));
                    }
                }
                Ok(_) => {}
                Err(h3::Error::Done) => break,
                Err(error) => return Err(error),
            }
        }
        let quic = &mut self.quic;
        self.rests.retain(|stream, rest| {
            if let Some(head) = &rest.head {
                match http3.send_response(quic, *stream, head, rest.content.is_empty()) {
                    Ok(()) => rest.head = None,
                    Err(h3::Error::StreamBlocked) => return true,
                    Err(_) => return false,
                }
            }
            while rest.sent < rest.content.len() {
                match http3.send_body(quic, *stream, &rest.content[rest.sent..], true) {
                    Ok(more) => rest.sent += more,
                    Err(h3::Error::Done) => return true,
                    Err(_) => return false,
                }
            }
            false
        });
        Ok(())
    }

    fn over_http09(&mut self, answer: Answer<'_>) {
        for stream in self.quic.readable() {
            let mut piece = [0; LINE];
            // The line so far.
            let asked = self.asked.entry(stream).or_default();
            while let Ok((length, ended)) = self.quic.stream_recv(stream, &mut piece) {
                asked.path.push_str(&String::from_utf8_lossy(&piece[..length]));
                if !ended || asked.path.len() > LINE {
                    continue;
                }
                let path = asked.path.split_whitespace().nth(1).unwrap_or_default().to_owned();
                match answer(&Asked { method: "GET".into(), path, received: 0 }) {
                    Some(content) => drop(self.rests.insert(stream, Rest::new(Some(content)))),
                    None => drop(self.quic.stream_shutdown(stream, Shutdown::Write, 0)),
                }
            }
        }
        let quic = &mut self.quic;
        self.rests.retain(|stream, rest| loop {
            match quic.stream_send(*stream, &rest.content[rest.sent..], true) {
                Ok(more) => rest.sent += more,
                Err(quiche::Error::Done) => return true,
                Err(_) => return false,
            }
            if rest.sent == rest.content.len() {
                return false;
            }
        });
    }
}

/// All of them, by number, and their numbers by their ids.
struct Server<'a> {
    socket: UdpSocket,
    local: SocketAddr,
    config: quiche::Config,
    retry: bool,
    clients: HashMap<u64, Client>,
    ids: HashMap<Vec<u8>, u64>,
    next: u64,
    answer: Answer<'a>,
}

impl Server<'_> {
    /// The connection of a datagram; a new one, if it begins one.
    fn number(&mut self, header: &quiche::Header<'_>, from: SocketAddr) -> Option<u64> {
        if let Some(number) = self.ids.get(&header.dcid[..]) {
            return Some(*number);
        }
        if header.ty != Type::Initial {
            return None;
        }
        let mut out = [0; 512];
        if !quiche::version_is_supported(header.version) {
            let length = quiche::negotiate_version(&header.scid, &header.dcid, &mut out).ok()?;
            send(&self.socket, &out[..length], from);
            return None;
        }
        let id: [u8; quiche::MAX_CONN_ID_LEN] = random();
        let id = ConnectionId::from_ref(&id);
        let token = header.token.as_deref().unwrap_or_default();
        // It shows the address and what the client called the server at first. Only this run has to believe it.
        let address = octets(from.ip());
        let original = token.strip_prefix(&address[..]).map(ConnectionId::from_ref);
        let (id, original) = match original {
            Some(original) if self.retry => (header.dcid.clone(), Some(original)),
            _ if self.retry => {
                let token = [&address[..], &header.dcid].concat();
                let length = quiche::retry(&header.scid, &header.dcid, &id, &token, header.version, &mut out).ok()?;
                send(&self.socket, &out[..length], from);
                return None;
            }
            _ => (id, None),
        };
        let quic = quiche::accept(&id, original.as_ref(), self.local, from, &mut self.config);
        let mut quic = quic.unwrap_or_else(|error| broken(error));
        if let Some(path) = std::env::var_os("SSLKEYLOGFILE") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            quic.set_keylog(Box::new(file.unwrap_or_else(|error| broken(error))));
        }
        self.next += 1;
        self.clients.insert(self.next, Client::new(quic));
        self.ids.insert(id.to_vec(), self.next);
        self.ids.insert(header.dcid.to_vec(), self.next);
        Some(self.next)
    }

    fn take(&mut self, datagram: &mut [u8], from: SocketAddr) {
        let Ok(header) = quiche::Header::from_slice(datagram, quiche::MAX_CONN_ID_LEN) else { return };
        let Some(number) = self.number(&header, from) else { return };
        let Some(client) = self.clients.get_mut(&number) else { return };
        let info = quiche::RecvInfo { from, to: self.local };
        receive(&mut client.quic, datagram, info);
        client.turn(self.answer);
    }

    fn turn(&mut self) {
        for client in self.clients.values_mut() {
            client.turn(self.answer);
            flush(&mut client.quic, |datagram, to| send(&self.socket, datagram, to));
            client.log();
        }
        self.clients.retain(|_, client| !client.quic.is_closed());
        let clients = &self.clients;
        self.ids.retain(|_, number| clients.contains_key(number));
        let due = self.clients.values().filter_map(|client| client.quic.timeout()).min();
        let wait = due.unwrap_or(IDLE).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(wait)).unwrap_or_else(|error| broken(error));
        let mut datagram = vec![0; RECEIVED];
        for index in 0..AT_ONCE {
            if index == 1 {
                self.socket.set_nonblocking(true).unwrap_or_else(|error| broken(error));
            }
            match self.socket.recv_from(&mut datagram) {
                Ok((length, from)) => self.take(&mut datagram[..length], from),
                Err(error) if is_passing(&error) => break,
                Err(error) => broken(error),
            }
        }
        self.socket.set_nonblocking(false).unwrap_or_else(|error| broken(error));
        self.clients.values_mut().for_each(|client| client.quic.on_timeout());
    }
}

fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    match socket.send_to(datagram, to) {
        Err(error) if !is_passing(&error) => eprintln!("{to}: {error}"),
        _ => {}
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Serves until it is ended, on this port of all addresses; of those of IPv4 where there is no IPv6.
pub fn serve(port: u16, config: quiche::Config, retry: bool, answer: Answer<'_>) -> ! {
    let over_v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port));
    let socket = over_v6.or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)));
    let socket = socket.unwrap_or_else(|error| broken(error));
    let local = socket.local_addr().unwrap_or_else(|error| broken(error));
    println!("ready");
    let mut server = Server { socket, local, config, retry, clients: HashMap::new(), ids: HashMap::new(), next: 0, answer };
    loop {
        server.turn();
    }
}
