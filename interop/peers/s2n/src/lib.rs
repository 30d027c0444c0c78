//! s2n-tls, compiled and packed by its crate; `client.c` calls it.

use s2n_tls_sys as _;
