//! A client's connection: its socket, and what BoringSSL tells of its handshake.

use crate::{broken, flush, is_passing, random, receive, RECEIVED};
use boring::ssl::{SslContextBuilder, SslRef};
use boring_sys as ffi;
use foreign_types_shared::ForeignTypeRef;
use std::ffi::CStr;
use std::net::{SocketAddr, UdpSocket};
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Why it goes no further, in words.
pub type Went<T> = Result<T, String>;

/// How many datagrams are taken before something is sent.
const AT_ONCE: usize = 64;

/// NewSessionTicket messages of the connection under way; quiche keeps but the last one.
pub static TICKETS: AtomicU64 = AtomicU64::new(0);
/// Whether a certificate was shown.
pub static SHOWN: AtomicBool = AtomicBool::new(false);

/// Looks at the messages of handshakes.
pub fn watch(tls: &mut SslContextBuilder) {
    // SAFETY: the context is alive, and the function has the type that BoringSSL wants.
    unsafe { ffi::SSL_CTX_set_msg_callback(tls.as_ptr(), Some(on_message)) }
}

/// Record type 22; message types 4, 11, 25 (RFC 8446 section 4, RFC 8879).
unsafe extern "C" fn on_message(is_write: c_int, _: c_int, kind: c_int, message: *const c_void, length: usize, _: *mut ffi::SSL, _: *mut c_void) {
    if is_write != 0 || kind != 22 || length == 0 {
        return;
    }
    // SAFETY: there is a byte at least.
    match unsafe { *message.cast::<u8>() } {
        4 => {
            TICKETS.fetch_add(1, Ordering::Relaxed);
        }
        11 | 25 => SHOWN.store(true, Ordering::Relaxed),
        _ => {}
    }
}

/// Whether there was a HelloRetryRequest.
pub fn retried(tls: &SslRef) -> bool {
    // SAFETY: the connection is alive.
    unsafe { ffi::SSL_used_hello_retry_request(tls.as_ptr()) == 1 }
}

/// Whether early data was accepted.
pub fn accepted(tls: &SslRef) -> bool {
    // SAFETY: the connection is alive.
    unsafe { ffi::SSL_early_data_accepted(tls.as_ptr()) == 1 }
}

/// Why early data was not accepted, as BoringSSL calls it: `hello_retry_request` only of a client that sent some.
pub fn reason(tls: &SslRef) -> &'static str {
    // SAFETY: the connection is alive, and the text is a constant, or there is none.
    let text = unsafe {
        let text = ffi::SSL_early_data_reason_string(ffi::SSL_get_early_data_reason(tls.as_ptr()));
        (!text.is_null()).then(|| CStr::from_ptr(text))
    };
    text.and_then(|text| text.to_str().ok()).unwrap_or("none")
}

/// A connection under way.
pub struct Line {
    pub quic: quiche::Connection,
    socket: UdpSocket,
    local: SocketAddr,
    remote: SocketAddr,
    deadline: Instant,
}

impl Line {
    /// Begins one, with the first datagram on its way; offers the session that is given.
    pub fn open(remote: SocketAddr, name: Option<&str>, config: &mut quiche::Config, session: Option<&[u8]>, deadline: Instant) -> Went<Self> {
        let any = if remote.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).and_then(|socket| socket.connect(remote).map(|()| socket));
        let socket = socket.unwrap_or_else(|error| broken(error));
        let local = socket.local_addr().unwrap_or_else(|error| broken(error));
        TICKETS.store(0, Ordering::Relaxed);
        SHOWN.store(false, Ordering::Relaxed);
        let id: [u8; quiche::MAX_CONN_ID_LEN] = random();
        let id = quiche::ConnectionId::from_ref(&id);
        let mut quic = quiche::connect(name, &id, local, remote, config).map_err(text)?;
        if let Some(path) = std::env::var_os("SSLKEYLOGFILE") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            quic.set_keylog(Box::new(file.unwrap_or_else(|error| broken(error))));
        }
        if let Some(session) = session {
            quic.set_session(session).map_err(text)?;
        }
        let mut line = Self { quic, socket, local, remote, deadline };
        // Keys for early data are there when the hello is.
        line.flush();
        Ok(line)
    }

    /// Sends all that there is to send now.
    pub fn flush(&mut self) {
        let Self { quic, socket, .. } = self;
        flush(quic, |datagram, _| match socket.send(datagram) {
            Err(error) if !is_passing(&error) => broken(error),
            _ => {}
        });
    }

    /// Sends what there is, and takes what comes until then.
    pub fn turn(&mut self, until: Instant) {
        self.flush();
        let now = Instant::now();
        let until = until.min(self.deadline);
        let until = self.quic.timeout_instant().map_or(until, |timer| until.min(timer));
        // A timeout of nothing is none.
        let wait = until.saturating_duration_since(now).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(wait)).unwrap_or_else(|error| broken(error));
        let mut datagram = vec![0; RECEIVED];
        for index in 0..AT_ONCE {
            if index == 1 {
                self.socket.set_nonblocking(true).unwrap_or_else(|error| broken(error));
            }
            match self.socket.recv(&mut datagram) {
                Ok(length) => {
                    let info = quiche::RecvInfo { from: self.remote, to: self.local };
                    receive(&mut self.quic, &mut datagram[..length], info);
                }
                Err(error) if is_passing(&error) => break,
                Err(error) => broken(error),
            }
        }
        self.socket.set_nonblocking(false).unwrap_or_else(|error| broken(error));
        self.quic.on_timeout();
        while self.quic.path_event_next().is_some() {}
    }

    /// Takes what comes for a while.
    pub fn linger(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && self.over().is_none() {
            self.turn(until);
        }
    }

    /// Goes on until it has what is waited for.
    pub fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Went<Option<T>>) -> Went<T> {
        loop {
            if let Some(value) = done(self)? {
                return Ok(value);
            }
            if let Some(why) = self.over() {
                return Err(why);
            }
            if Instant::now() >= self.deadline {
                return Err("timeout".into());
            }
            self.turn(self.deadline);
        }
    }

    /// Why it has ended, if it has.
    pub fn over(&self) -> Option<String> {
        let quic = &self.quic;
        let told = |error: &quiche::ConnectionError| format!("{:#x} {}", error.error_code, String::from_utf8_lossy(&error.reason));
        if let Some(error) = quic.peer_error() {
            return Some(format!("the other side closed: {}", told(error)));
        }
        if let Some(error) = quic.local_error() {
            return Some(format!("this side closed: {}", told(error)));
        }
        if quic.is_timed_out() {
            return Some("timeout".into());
        }
        (quic.is_closed() || quic.is_draining()).then(|| "the connection ended".into())
    }

    /// Says goodbye.
    pub fn close(&mut self, code: u64) {
        // It may have ended already.
        let _ = self.quic.close(true, code, b"");
        self.flush();
    }
}

/// An error in words.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
