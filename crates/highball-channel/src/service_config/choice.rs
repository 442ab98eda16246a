//! Service configs in DNS: TXT records with choices among clients (gRFC A2).

use serde_json::Value;

use super::json::{Object, Read, ServiceConfigError};
use super::json::{each, list, object, optional, required, string, whole};
use super::{JSON_SIZE_BYTES_MAX, ServiceConfig};

/// What stands before the host's name in the name of its TXT record.
pub const NAME_PREFIX: &str = "_grpc_config.";

/// What a TXT record with a service config starts with.
const ATTRIBUTE: &str = "grpc_config=";

/// How we call ourselves in `clientLanguage`.
const LANGUAGE: &str = "rust";

/// Who chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// As the system calls this machine, for `clientHostname`; case matters.
    pub hostname: String,
    /// For `percentage`. Keep it for the life of a channel: another draw at each lookup would take a client in and out of
    /// a canary.
    pub random: u64,
}

impl Client {
    /// Chooses and reads the config meant for this client: the first choice that matches, of the first record that holds
    /// choices. `None` when there is none; then the channel's default config applies. Strings of one record are joined
    /// before they come here.
    ///
    /// # Errors
    /// [`ServiceConfigError`] when the choices are malformed, or the one that matches is not valid. A choice for somebody
    /// else may hold any config.
    pub fn choose<T: AsRef<str>>(&self, records: &[T]) -> Result<Option<ServiceConfig>, ServiceConfigError> {
        let mut texts = records.iter().filter_map(|record| record.as_ref().strip_prefix(ATTRIBUTE));
        let Some(text) = texts.next() else { return Ok(None) };
        if text.len() > JSON_SIZE_BYTES_MAX || !text.is_ascii() {
            return Err(ServiceConfigError::new("a TXT record holds ASCII, and no more than a DNS answer"));
        }
        let choices: Value = serde_json::from_str(text)
            .map_err(|error| ServiceConfigError::new(format!("the TXT record is not JSON: {error}")))?;
        let mut chosen = None;
        // All of them are read: an invalid one invalidates the record, so that a typing error is noticed by everybody.
        for (index, entry) in list(&choices)?.iter().enumerate() {
            let choice = Choice::read(entry).map_err(|error| error.at_index(index))?;
            if chosen.is_none() && choice.is_for(self) {
                chosen = Some((index, choice.config));
            }
        }
        let read = |(index, config)| {
            ServiceConfig::read(config).map_err(|error| error.in_field("serviceConfig").at_index(index))
        };
        chosen.map(read).transpose()
    }
}

struct Choice<'a> {
    languages: Vec<&'a str>,
    percentage: Option<u64>,
    hostnames: Vec<&'a str>,
    config: &'a Value,
}

impl<'a> Choice<'a> {
    const FIELDS: [&'static str; 4] = ["clientLanguage", "percentage", "clientHostname", "serviceConfig"];

    fn read(entry: &'a Value) -> Read<Self> {
        let entry: &Object = object(entry)?;
        // Unlike in the config itself: a condition that is not understood must not be taken for met (gRFC A2).
        if let Some(unknown) = entry.keys().find(|name| !Self::FIELDS.contains(&name.as_str())) {
            let problem = format!("is not a known condition; known are {}", Self::FIELDS.join(", "));
            return Err(ServiceConfigError::new(problem).in_field(unknown));
        }
        let strings = |name| Ok(optional(entry, name, |value| each(value, string))?.unwrap_or_default());
        Ok(Self {
            languages: strings("clientLanguage")?,
            percentage: optional(entry, "percentage", percentage)?,
            hostnames: strings("clientHostname")?,
            config: required(entry, "serviceConfig", |value| object(value).map(|_| value))?,
        })
    }

    fn is_for(&self, client: &Client) -> bool {
        (self.languages.is_empty()
            || self.languages.iter().any(|language| language.eq_ignore_ascii_case(LANGUAGE)))
            && self.percentage.is_none_or(|percentage| client.random % 100 < percentage)
            && (self.hostnames.is_empty() || self.hostnames.contains(&client.hostname.as_str()))
    }
}

fn percentage(value: &Value) -> Read<u64> {
    match (value, whole(value)?) {
        // gRFC A2 asks for a number, not for proto3 JSON.
        (Value::Number(_), percentage @ 0..=100) => Ok(percentage),
        _ => Err(ServiceConfigError::new(format!("{value} is not a whole number of 0 to 100"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client { hostname: "web-1".to_owned(), random: 1042 }
    }

    /// What the chosen config says of `waitForReady`; every config of these tests says something of it.
    #[track_caller]
    fn check(choices: &str, expected: Result<Option<bool>, &str>) {
        let records =
            ["other=1".to_owned(), format!("grpc_config={choices}"), "grpc_config=no JSON".to_owned()];
        let found = client()
            .choose(&records)
            .map(|config| config.map(|config| config.fallback.wait_for_ready.unwrap()));
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{choices}");
    }

    fn config(wait: bool) -> String {
        format!(r#""serviceConfig":{{"methodConfig":[{{"name":[{{}}],"waitForReady":{wait}}}]}}"#)
    }

    #[test]
    fn the_first_choice_whose_conditions_all_hold_is_taken() {
        let (yes, no) = (config(true), config(false));
        let cases = [
            (format!("[{{{yes}}},{{{no}}}]"), Some(true)),
            (format!(r#"[{{"clientLanguage":["GO","Rust"],{yes}}},{{{no}}}]"#), Some(true)),
            (format!(r#"[{{"clientLanguage":["go"],{yes}}},{{{no}}}]"#), Some(false)),
            (format!(r#"[{{"clientLanguage":[],"clientHostname":null,{yes}}},{{{no}}}]"#), Some(true)),
            (format!(r#"[{{"clientHostname":["web-1"],{yes}}},{{{no}}}]"#), Some(true)),
            (format!(r#"[{{"clientHostname":["WEB-1"],{yes}}},{{{no}}}]"#), Some(false)),
            // 1042 is the 42nd of a hundred, counted from 0.
            (format!(r#"[{{"percentage":43,{yes}}},{{{no}}}]"#), Some(true)),
            (format!(r#"[{{"percentage":42,{yes}}},{{{no}}}]"#), Some(false)),
            (format!(r#"[{{"percentage":0,{yes}}}]"#), None),
            (format!(r#"[{{"percentage":100,{yes}}}]"#), Some(true)),
            (format!(r#"[{{"percentage":100,"clientLanguage":["go"],{yes}}}]"#), None),
            ("[]".to_owned(), None),
        ];
        for (choices, expected) in cases {
            check(&choices, Ok(expected));
        }
    }

    #[test]
    fn an_invalid_choice_invalidates_the_record() {
        let yes = config(true);
        let known = "known are clientLanguage, percentage, clientHostname, serviceConfig";
        let cases = [
            (
                format!(r#"[{{"clientVersion":"1",{yes}}}]"#),
                format!("[0].clientVersion: is not a known condition; {known}"),
            ),
            (
                format!(r#"[{{{yes}}},{{"percentage":101,{yes}}}]"#),
                "[1].percentage: 101 is not a whole number of 0 to 100".to_owned(),
            ),
            (
                format!(r#"[{{"percentage":"5",{yes}}}]"#),
                "[0].percentage: \"5\" is not a whole number of 0 to 100".to_owned(),
            ),
            (
                format!(r#"[{{"clientLanguage":"rust",{yes}}}]"#),
                "[0].clientLanguage: expected a list, found \"rust\"".to_owned(),
            ),
            ("[{}]".to_owned(), "[0].serviceConfig: is required".to_owned()),
            (
                r#"[{"serviceConfig":[]}]"#.to_owned(),
                "[0].serviceConfig: expected an object, found a list".to_owned(),
            ),
            (
                r#"[{"serviceConfig":{"methodConfig":[{"timeout":1}]}}]"#.to_owned(),
                "[0].serviceConfig.methodConfig[0].timeout: expected a string, found 1".to_owned(),
            ),
            ("{}".to_owned(), "service config: expected a list, found an object".to_owned()),
        ];
        for (choices, expected) in cases {
            check(&choices, Err(&expected));
        }
    }

    #[test]
    fn a_choice_for_others_may_hold_any_config() {
        let yes = config(true);
        check(
            &format!(r#"[{{"clientLanguage":["go"],"serviceConfig":{{"methodConfig":7}}}},{{{yes}}}]"#),
            Ok(Some(true)),
        );
    }

    #[test]
    fn other_records_are_no_config() {
        assert_eq!(client().choose(&["v=spf1 -all", "grpc_configuration=[]"]).unwrap(), None);
        assert_eq!(client().choose::<&str>(&[]).unwrap(), None);
        assert!(client().choose(&["grpc_config=[\"\u{e9}\"]"]).is_err());
    }
}
