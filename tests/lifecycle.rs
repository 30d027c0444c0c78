//! The program while it lives: timeouts, reload, drain, limits, logs, admin, start-up.

mod support;

mod lifecycle {
    mod house;

    mod drain;
    mod handlers;
    mod image;
    mod limits;
    mod logs;
    mod reload;
    mod reload_early;
    mod start;
    mod timeouts_http1;
    mod timeouts_http2;
    mod timeouts_origin;
    mod timeouts_tls;
}
