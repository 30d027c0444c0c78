//! `SO_ATTACH_REUSEPORT_CBPF`, which neither socket2 nor std offers: which of the sockets of one UDP
//! port a datagram goes to.
//!
//! The kernel would choose by the client's address, so that a client whose address changes would
//! reach a worker that knows nothing of it. So a filter chooses, by the connection id: see
//! [`Ids`](super::udp::Ids). Classic BPF needs no privilege.
#![allow(unsafe_code, reason = "one setsockopt; see the proof at the call")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

// linux/bpf_common.h, linux/filter.h. Classes, sizes and modes are parts of one number.
const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
const JUMP_IF_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const MODULO: u16 = 0x94; // BPF_ALU | BPF_MOD | BPF_K
const RETURN: u16 = 0x16; // BPF_RET | BPF_A

/// Where a short header has the destination's connection id (RFC 9000 §17.3).
pub(super) const SHORT: u32 = 1;

/// Where a long header has it: behind the first byte, the version and its length (§17.2).
pub(super) const LONG: u32 = 6;

/// Steers datagrams to the sockets that share the port of `socket`, of which there are `count`: to the
/// one whose place in the order of binding is the id's first two bytes modulo `count`.
///
/// A datagram too short to have an id goes to the first.
///
/// # Errors
/// The system's.
pub(super) fn by_connection_id(socket: &UdpSocket, count: u16) -> io::Result<()> {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let program = [
        instruction(LOAD_BYTE, 0, 0, 0),
        instruction(JUMP_IF_SET, 2, 0, 0x80),
        instruction(LOAD_HALF, 0, 0, SHORT),
        instruction(JUMP, 0, 0, 1),
        instruction(LOAD_HALF, 0, 0, LONG),
        instruction(MODULO, 0, 0, u32::from(count.max(1))),
        instruction(RETURN, 0, 0, 0),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the descriptor is open, because `socket` is borrowed for the call; the pointer and the
    // length describe `filter`, a live and initialised sock_fprog, whose own pointer and length
    // describe `program`, which outlives the call. The kernel copies both before it returns and
    // writes to neither (socket(7), setsockopt(2)).
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast::<libc::c_void>(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
