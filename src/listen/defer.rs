//! `TCP_DEFER_ACCEPT`, which neither socket2 nor std offers.
#![allow(unsafe_code, reason = "one setsockopt; see the proof at the call")]

use std::io;
use std::os::fd::AsRawFd;

use socket2::Socket;

/// Wakes the listener only when a connection has sent something, for at most `seconds`.
///
/// # Errors
/// The system's.
pub(super) fn defer_accept(socket: &Socket, seconds: i32) -> io::Result<()> {
    let value: libc::c_int = seconds;
    // SAFETY: the descriptor is open, because `socket` is borrowed for the call; the pointer and
    // the length describe `value`, a live and initialised c_int, which the kernel only reads
    // before the call returns (tcp(7), setsockopt(2)).
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const value).cast::<libc::c_void>(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
