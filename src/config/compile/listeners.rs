//! Listeners: distinct addresses and names, and which site answers to which name on which.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::Work;
use crate::admission::Networks;
use crate::config::diagnostics::{At, Diagnostic};
use crate::config::names::{NameIndex, SiteName};
use crate::config::snapshot::{AdminAddress, Listener, ProxyProtocol, Quic, Site, TrustedProxies};
use crate::config::spec::{ListenSpec, SiteSpec, Spec};

/// Which listener has which name.
pub(super) type ListenerNames<'s> = HashMap<&'s str, usize>;

pub(super) fn compile<'s>(
    spec: &'s Spec,
    work: &mut Work<'_>,
) -> (Vec<Listener>, ListenerNames<'s>) {
    let mut names: ListenerNames<'s> = HashMap::new();
    let mut addresses = HashMap::new();
    if spec.listeners.is_empty() {
        let error = Diagnostic::error(None, "no listener");
        let hint = "add a [[listen]] with, for example, address = \"0.0.0.0:443\"";
        work.errors.push(error.hint(hint));
    }
    for (index, listen) in spec.listeners.iter().enumerate() {
        check_quic(listen, work);
        match names.entry(&listen.name.value) {
            Entry::Vacant(entry) => {
                entry.insert(index);
            }
            Entry::Occupied(first) => {
                let first = &spec.listeners[*first.get()];
                // Equal addresses make equal default names: one error is enough.
                if first.address.value != listen.address.value || listen.address.value.port() == 0 {
                    let error = Diagnostic::error(
                        listen.name.place.clone(),
                        format!("two listeners are named `{}`", listen.name.value),
                    );
                    let error = error.other("first named at", first.name.place.as_ref());
                    work.errors
                        .push(error.hint("give each [[listen]] its own `name`"));
                }
            }
        }
        // Port 0 is a different port every time.
        if listen.address.value.port() != 0
            && let Some(first) = addresses.insert(listen.address.value, &listen.address)
        {
            let error = Diagnostic::error(
                listen.address.place.clone(),
                format!("two listeners have the address {}", listen.address.value),
            );
            let error = error.other("first used at", first.place.as_ref());
            work.errors.push(error.hint("take one of the two away"));
        }
    }
    if let Some(At {
        value: AdminAddress::Tcp(address),
        place,
    }) = &spec.admin
        && let Some(listen) = addresses.get(address)
        && address.port() != 0
    {
        let message = format!("{address} is the address of a listener too");
        let error = Diagnostic::error(place.clone(), message);
        let error = error.other("used at", listen.place.as_ref());
        work.errors
            .push(error.hint("give [admin] a port of its own"));
    }
    let listeners = spec.listeners.iter().map(|listen| Listener {
        name: listen.name.value.as_str().into(),
        address: listen.address.value,
        tls: listen.tls,
        quic: quic(listen),
        backlog: listen.backlog,
        client_hello_timeout: listen.client_hello_timeout,
        proxy_protocol: listen.proxy_protocol.map(|accepts| ProxyProtocol {
            accepts,
            from: Networks::new(&listen.proxy_from),
            timeout: listen.proxy_header_timeout,
        }),
        trusted_proxies: trusted_proxies(listen),
        names: NameIndex::new(),
        default: None,
    });
    (listeners.collect(), names)
}

fn quic(listen: &ListenSpec) -> Option<Quic> {
    listen.quic.value.then(|| {
        let mut quic = Quic {
            address: listen.address.value,
            alt_svc_age: listen.alt_svc,
            alt_svc: None,
            retry: listen.quic_retry,
            migration: listen.quic_migration,
        };
        quic.at(listen.address.value);
        quic
    })
}

/// What QUIC cannot be had with.
fn check_quic(listen: &ListenSpec, work: &mut Work<'_>) {
    if !listen.quic.value {
        return;
    }
    let mut refuse = |message: &str, hint: &str| {
        let error = Diagnostic::error(listen.quic.place.clone(), message);
        work.errors.push(error.hint(hint));
    };
    if !listen.tls {
        refuse(
            "`quic = true` on a listener without TLS",
            "QUIC is never without TLS: take one of the two away",
        );
    }
    if listen.proxy_protocol.is_some() {
        refuse(
            "`quic = true` on a listener with `proxy_protocol`",
            "its headers begin TCP connections: give QUIC a listener of its own",
        );
    }
}

fn trusted_proxies(listen: &ListenSpec) -> Option<Arc<TrustedProxies>> {
    let networks = &listen.trusted_proxies;
    (!networks.is_empty()).then(|| {
        Arc::new(TrustedProxies {
            networks: Networks::new(networks),
            header: listen.trusted_header,
        })
    })
}

/// Puts each site on its listeners.
pub(super) fn assign(
    spec: &Spec,
    sites: &[Arc<Site>],
    listeners: &mut [Listener],
    listener_names: &ListenerNames<'_>,
    work: &mut Work<'_>,
) {
    let mut taken: Vec<HashMap<&SiteName, &At<SiteName>>> = vec![HashMap::new(); listeners.len()];
    let mut defaults: Vec<Option<&SiteSpec>> = vec![None; listeners.len()];
    for (site_spec, site) in spec.sites.iter().zip(sites) {
        let chosen = chosen(site_spec, listeners, listener_names, work);
        // One site named twice on two listeners is one mistake.
        let mut reported: Vec<&SiteName> = Vec::new();
        let mut default_reported = false;
        for index in chosen {
            let (Some(listener), Some(taken), Some(default)) = (
                listeners.get_mut(index),
                taken.get_mut(index),
                defaults.get_mut(index),
            ) else {
                continue;
            };
            for name in &site_spec.names {
                if let Some(first) = taken.get(&name.value) {
                    if !reported.contains(&&name.value) {
                        reported.push(&name.value);
                        work.errors.push(twice(name, first, &listener.name));
                    }
                    continue;
                }
                taken.insert(&name.value, name);
                // The name is not taken, as was just seen.
                let _ = listener.names.insert(name.value.clone(), Arc::clone(site));
            }
            if !site_spec.default.value {
                continue;
            }
            match default {
                None => {
                    *default = Some(site_spec);
                    listener.default = Some(Arc::clone(site));
                }
                Some(first) if !default_reported => {
                    default_reported = true;
                    let message = format!("listener `{}` has two default sites", listener.name);
                    let error = Diagnostic::error(site_spec.default.place.clone(), message);
                    let error = error.other("the first is at", first.default.place.as_ref());
                    let hint = "leave it at one site, or give the two different `listen`";
                    work.errors.push(error.hint(hint));
                }
                Some(_) => {}
            }
        }
    }
    for listener in listeners {
        listener.names.shrink_to_fit();
    }
}

/// The indices of a site's listeners.
fn chosen(
    site: &SiteSpec,
    listeners: &[Listener],
    listener_names: &ListenerNames<'_>,
    work: &mut Work<'_>,
) -> Vec<usize> {
    if site.listen.is_empty() {
        return (0..listeners.len()).collect();
    }
    let mut chosen = Vec::new();
    for name in &site.listen {
        match listener_names.get(name.value.as_str()) {
            Some(&index) if !chosen.contains(&index) => chosen.push(index),
            Some(_) => {
                let message = format!("listener `{}` is named twice", name.value);
                let error = Diagnostic::error(name.place.clone(), message);
                work.errors.push(error.hint("take one of the two away"));
            }
            None => {
                let known = listener_names.keys().copied();
                let hint = crate::config::nearest::hint(&name.value, known);
                let message = format!("no listener is named `{}`", name.value);
                let error = Diagnostic::error(name.place.clone(), message);
                work.errors.push(error.hint(hint));
            }
        }
    }
    let speaks_tls = |&index: &usize| listeners.get(index).is_some_and(|listener| listener.tls);
    if !chosen.is_empty() && !chosen.iter().any(speaks_tls) {
        let place = site.listen.first().and_then(|name| name.place.clone());
        let message = format!("site {} has no listener with TLS", site.label());
        let error = Diagnostic::error(place, message);
        let hint = "a listener with `tls = false` only redirects to https";
        work.errors.push(error.hint(hint));
    }
    chosen
}

fn twice(name: &At<SiteName>, first: &At<SiteName>, listener: &str) -> Diagnostic {
    let message = format!("`{}` is named twice on listener `{listener}`", name.value);
    let error = Diagnostic::error(name.place.clone(), message);
    let error = error.other("first named at", first.place.as_ref());
    error.hint("a name belongs to one site: take it away from one of the two")
}
