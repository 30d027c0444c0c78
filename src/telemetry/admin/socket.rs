//! The sockets of the admin endpoint.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::AdminAddress;

const BACKLOG: i32 = 64;

/// How long accepting pauses after an error such as EMFILE.
const BACK_OFF: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A listening Unix socket, whose path is removed with it, if the path still is its own.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // A process that took over may have bound the path anew: then it is not ours.
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Listener {
    pub(super) async fn bind(address: &AdminAddress) -> io::Result<(Self, AdminAddress)> {
        match address {
            AdminAddress::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = AdminAddress::Tcp(listener.local_addr()?);
                Ok((Self::Tcp(listener), address))
            }
            AdminAddress::Unix(path) => {
                let socket = bind_unix(path)?;
                Ok((Self::Unix(socket), address.clone()))
            }
        }
    }

    /// The next connection. Errors are waited out.
    pub(super) async fn accept(&self) -> Stream {
        loop {
            let accepted = match self {
                Self::Tcp(listener) => listener.accept().await.map(|(tcp, _)| Stream::Tcp(tcp)),
                Self::Unix(socket) => {
                    let accepted = socket.listener.accept().await;
                    accepted.map(|(unix, _)| Stream::Unix(unix))
                }
            };
            match accepted {
                Ok(stream) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "admin: accept failed");
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "one listener, not one connection"
                    )]
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixSocket> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before `listen` nobody can connect, so no one slips in before the mode is set.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    Ok(UnixSocket {
        listener: UnixListener::from_std(socket.into())?,
        path: path.to_owned(),
        identity: identity(path)?,
    })
}

/// Removes what a process that died left behind: a socket, and only if nobody answers there.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let hint = format!("{} exists and is not a socket", path.display());
        return Err(io::Error::new(ErrorKind::AlreadyExists, hint));
    }
    // Not blocking: connecting waits for as long as a living process does not accept.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => {
            let hint = format!("another process listens on {}", path.display());
            Err(io::Error::new(ErrorKind::AddrInUse, hint))
        }
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp(tcp) => {
                let $inner = Pin::new(tcp);
                $call
            }
            Stream::Unix(unix) => {
                let $inner = Pin::new(unix);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
