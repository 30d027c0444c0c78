//! The list of logs that an operator gives: JSON as Google and Apple publish it, version 3.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use x509_cert::der::{DateTime, Decode};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Logs by their identity, which is the SHA-256 of their key.
#[derive(Clone, Debug, Default)]
pub struct LogList {
    logs: HashMap<[u8; 32], Log>,
}

/// A log.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub name: String,
    pub operator: String,
    pub key: SubjectPublicKeyInfoOwned,
    pub state: LogState,
    /// Whether it keeps to RFC 6962 itself rather than to its successor of tiles: browsers want
    /// one such at least.
    pub rfc6962: bool,
}

/// What browsers think of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogState {
    /// Qualified, usable or read-only: its timestamps count.
    Current,
    /// Those from before this moment count, as long as another one is current.
    Retired(#[serde(skip)] SystemTime),
    /// Pending or rejected: they do not count.
    NotApproved,
}

#[derive(Deserialize)]
struct File {
    operators: Vec<Operator>,
}

#[derive(Deserialize)]
struct Operator {
    name: String,
    #[serde(default)]
    logs: Vec<Entry>,
    #[serde(default)]
    tiled_logs: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    description: String,
    log_id: String,
    key: String,
    #[serde(default)]
    state: State,
}

#[derive(Default, Deserialize)]
struct State {
    qualified: Option<Entered>,
    usable: Option<Entered>,
    readonly: Option<Entered>,
    retired: Option<Entered>,
}

#[derive(Deserialize)]
struct Entered {
    timestamp: String,
}

impl LogList {
    /// Reads a list.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let file: File = serde_json::from_slice(json)
            .map_err(|error| format!("it is no list of logs of version 3: {error}"))?;
        let mut logs = HashMap::new();
        for operator in file.operators {
            let Operator {
                name,
                logs: plain,
                tiled_logs,
            } = operator;
            let plain = plain.into_iter().map(|entry| (entry, true));
            let tiled = tiled_logs.into_iter().map(|entry| (entry, false));
            for (entry, rfc6962) in plain.chain(tiled) {
                let described = entry.description.clone();
                let (id, log) = entry
                    .log(&name, rfc6962)
                    .map_err(|error| format!("log `{described}` of {name}: {error}"))?;
                logs.insert(id, log);
            }
        }
        match logs.is_empty() {
            true => Err("there is no log in it".to_owned()),
            false => Ok(Self { logs }),
        }
    }

    /// How many logs it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.logs.len()
    }

    /// Whether it has none; a list that was read has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    pub(super) fn get(&self, id: &[u8; 32]) -> Option<&Log> {
        self.logs.get(id)
    }
}

impl Entry {
    fn log(self, operator: &str, rfc6962: bool) -> Result<([u8; 32], Log), String> {
        let decode = |what: &str, text: &str| {
            let bytes = BASE64.decode(text.as_bytes());
            bytes.map_err(|error| format!("its {what} is no base64: {error}"))
        };
        let key = decode("key", &self.key)?;
        let id = decode("log_id", &self.log_id)?;
        let id = <[u8; 32]>::try_from(id).map_err(|_| "its log_id is not of 32 bytes")?;
        if digest(&SHA256, &key).as_ref() != id {
            return Err("its log_id is not the SHA-256 of its key".to_owned());
        }
        let key = SubjectPublicKeyInfoOwned::from_der(&key)
            .map_err(|error| format!("its key cannot be read: {error}"))?;
        let state = match &self.state {
            State {
                retired: Some(entered),
                ..
            } => LogState::Retired(entered.time()?),
            State {
                qualified: None,
                usable: None,
                readonly: None,
                ..
            } => LogState::NotApproved,
            _ => LogState::Current,
        };
        let log = Log {
            name: self.description,
            operator: operator.to_owned(),
            key,
            state,
            rfc6962,
        };
        Ok((id, log))
    }
}

impl Entered {
    fn time(&self) -> Result<SystemTime, String> {
        let time: DateTime = self
            .timestamp
            .parse()
            .map_err(|_| format!("`{}` is no time like 2026-01-01T00:00:00Z", self.timestamp))?;
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(time.unix_duration().as_secs()))
    }
}
