//! Every key that is known, by table: what is not here is an error, and what is here is in
//! docs/CONFIG.md.

/// The keys of one kind of table.
#[derive(Debug)]
pub struct Keys {
    /// What the table is called in messages and in the documentation.
    pub table: &'static str,
    /// Its keys.
    pub known: &'static [&'static str],
}

macro_rules! tables {
    ($($constant:ident $table:literal [$($key:literal)*];)*) => {
        $(
            #[doc = concat!("`", $table, "`.")]
            pub const $constant: Keys = Keys { table: $table, known: &[$($key),*] };
        )*
        /// Every kind of table.
        pub const ALL: &[Keys] = &[$($constant),*];
    };
}

tables! {
    TOP "the file" ["include" "certificate_directory" "server" "limits" "log" "listen" "admin" "sessions" "ocsp" "resolver" "certificate_transparency" "origin" "error_pages" "site"];
    INCLUDED "an included file" ["site"];
    SERVER "[server]" ["workers" "drain"];
    DRAIN "drain" ["delay" "timeout"];
    LIMITS "[limits]" ["connections" "handshakes"];
    LOG "[log]" ["level" "access" "connections"];
    LISTEN "[[listen]]" ["address" "name" "tls" "quic" "alt_svc" "quic_retry" "quic_migration" "proxy_protocol" "proxy_from" "trusted_proxies" "trusted_header" "backlog" "timeouts"];
    LISTEN_TIMEOUTS "timeouts of [[listen]]" ["client_hello" "proxy_header"];
    ADMIN "[admin]" ["address"];
    SESSIONS "[sessions]" ["capacity" "tickets" "store"];
    OCSP "[ocsp]" ["directory" "proxy" "timeout"];
    RESOLVER "[resolver]" ["servers" "timeout" "min_ttl" "max_ttl"];
    CERTIFICATE_TRANSPARENCY "[certificate_transparency]" ["log_list"];
    ORIGIN "[origin.NAME]" ["servers" "early_data_aware" "host" "forwarded" "proxy_protocol" "tls" "balance" "limits" "timeouts" "health" "ejection" "retries" "slow_start"];
    ORIGIN_TLS "tls of [origin.NAME]" ["ca" "server_name" "verify_name" "certificate" "alpn" "min_version"];
    ORIGIN_CERTIFICATE "certificate in tls of [origin.NAME]" ["chain" "key"];
    ORIGIN_SERVER "a server of [origin.NAME]" ["url" "weight"];
    BALANCE "balance" ["hash" "balance_factor"];
    ORIGIN_LIMITS "limits of [origin.NAME]" ["requests" "connections" "queue" "idle"];
    ORIGIN_TIMEOUTS "timeouts of [origin.NAME]" ["queue" "idle"];
    HEALTH "health" ["path" "host" "interval" "jitter" "timeout" "status" "healthy" "unhealthy"];
    EJECTION "ejection" ["failures" "time" "max_time" "max_percent" "status"];
    RETRIES "retries" ["attempts" "budget" "min" "status"];
    SITE "[[site]]" ["names" "listen" "certificate" "default" "alpn" "min_version" "early_data" "certificate_compression" "ocsp" "client_auth" "timeouts" "error_pages" "route"];
    ERROR_PAGES "error_pages" ["403" "404" "421" "425" "429" "502" "503" "504"];
    ERROR_PAGE "a page of error_pages" ["body" "body_file" "headers"];
    CERTIFICATE "certificate" ["chain" "key" "issuer" "responder" "staple" "scts"];
    SITE_TIMEOUTS "timeouts of [[site]]" ["handshake" "request_headers" "keep_alive"];
    ROUTE "[[site.route]]" ["path" "exact" "methods" "host" "early_data" "origin" "respond" "redirect" "allow" "deny" "rate_limit" "strip_prefix" "prefix_rewrite" "request_headers" "response_headers" "timeouts" "limits"];
    ROUTE_TIMEOUTS "timeouts of [[site.route]]" ["connect" "request_body_idle" "response_headers" "response_idle" "write_idle" "total"];
    ROUTE_LIMITS "limits of [[site.route]]" ["header_bytes" "headers" "uri" "body"];
    RATE_LIMIT "rate_limit" ["requests" "per" "burst" "clients"];
    FIELD_EDITS "request_headers and response_headers" ["remove" "set" "add"];
    RESPOND "respond" ["status" "body" "body_file" "headers"];
    REDIRECT "redirect" ["to" "status" "keep_path" "keep_query"];
}
