//! A file that changes, looked at in paused time.

use std::fs;

use tokio::time::timeout;

use super::*;
use crate::Endpoint;

struct Fixture {
    folder: tempfile::TempDir,
    file: File,
}

impl Fixture {
    fn new(content: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = File::new(folder.path().join("endpoints"));
        let fixture = Self { folder, file };
        if let Some(content) = content {
            fixture.write(content);
        }
        fixture
    }

    /// As documented: beside it, then renamed.
    fn write(&self, content: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, &self.file.path).unwrap();
    }

    /// The next news: endpoints, or the problem without the path.
    async fn next(&mut self) -> Result<Vec<String>, String> {
        let update = self.file.next().await.map_err(|error| {
            let message = error.to_string();
            message.split_once("endpoints: ").unwrap().1.to_owned()
        })?;
        Ok(update.endpoints.iter().map(Endpoint::name).collect())
    }

    async fn is_quiet_for(&mut self, seconds: u64) -> bool {
        timeout(Duration::from_secs(seconds), self.file.next()).await.is_err()
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_at_once_and_followed() {
    let mut fixture = Fixture::new(Some("10.0.0.2:1\n10.0.0.1:1\n"));
    let started = Instant::now();
    assert_eq!(fixture.next().await.unwrap(), ["10.0.0.2:1", "10.0.0.1:1"]);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(fixture.is_quiet_for(60).await);
    fixture.write("# another way to say the same\n10.0.0.2:1 \n 10.0.0.1:1");
    assert!(fixture.is_quiet_for(60).await);
    fixture.write("10.0.0.3:1");
    assert_eq!(fixture.next().await.unwrap(), ["10.0.0.3:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_is_told_once_and_changes_nothing() {
    let mut fixture = Fixture::new(Some("10.0.0.1:1"));
    assert_eq!(fixture.next().await.unwrap(), ["10.0.0.1:1"]);
    fixture.write("orders:1");
    let problem = "line 1: \"orders:1\" is not a literal address with a port, such as 192.0.2.1:443, and not unix:/path";
    assert_eq!(fixture.next().await.unwrap_err(), problem);
    assert!(fixture.is_quiet_for(60).await);
    fs::remove_file(&fixture.file.path).unwrap();
    assert!(fixture.next().await.unwrap_err().starts_with("No such file"));
    assert!(fixture.is_quiet_for(60).await);
    fixture.write("10.0.0.1:1");
    assert_eq!(
        fixture.next().await.unwrap(),
        ["10.0.0.1:1"],
        "told although nothing changed: it works again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_may_come_later() {
    let mut fixture = Fixture::new(None);
    assert!(fixture.next().await.is_err());
    fixture.write("10.0.0.1:1");
    assert_eq!(fixture.next().await.unwrap(), ["10.0.0.1:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_waits_until_it_is_still() {
    let mut fixture = Fixture::new(Some("10.0.0.1:1"));
    assert!(fixture.next().await.is_ok());
    for count in 1..20 {
        let lines: Vec<_> = (0..count).map(|n| format!("10.0.1.{n}:1")).collect();
        fs::write(&fixture.file.path, lines.join("\n")).unwrap();
        assert!(fixture.is_quiet_for(1).await, "{count}");
    }
    assert_eq!(fixture.next().await.unwrap().len(), 19);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_leaves_size_and_time_alone_is_found() {
    let mut fixture = Fixture::new(Some("10.0.0.1:1"));
    assert!(fixture.next().await.is_ok());
    let changed = fs::metadata(&fixture.file.path).unwrap().modified().unwrap();
    fixture.write("10.0.0.2:1");
    let file = fs::File::options().write(true).open(&fixture.file.path).unwrap();
    file.set_modified(changed).unwrap();
    let found = timeout(Duration::from_secs(30), fixture.next()).await.unwrap();
    assert_eq!(found.unwrap(), ["10.0.0.2:1"]);
}

#[test]
fn lines_and_json_say_the_same() {
    let lines = "\n# comment\n10.0.0.1:1 weight=2 locality=eu priority=1 hash_key=k hostname=a.example\nunix:/run/a\n";
    let json = r#" [ {"address":"10.0.0.1:1","weight":2,"locality":"eu","priority":1,"hashKey":"k","hostname":"a.example"},
                     {"addresses":["unix:/run/a"]} ]"#;
    let read = format::parse(lines).unwrap();
    assert_eq!(format::parse(json).unwrap(), read);
    let first = &read.endpoints[0].attributes;
    assert_eq!((first.weight, first.locality.as_deref(), first.priority), (Some(2), Some("eu"), 1));
    assert_eq!((first.hash_key.as_deref(), first.hostname.as_deref()), (Some("k"), Some("a.example")));
    assert_eq!(read.endpoints[1].name(), "unix:/run/a");
    let whole = format!(r#"{{"endpoints":{json},"serviceConfig":{{"loadBalancingPolicy":"round_robin"}}}}"#);
    let whole = format::parse(&whole).unwrap();
    assert_eq!(whole.endpoints, read.endpoints);
    assert!(whole.service_config.unwrap().balancing.is_some());
    let both = format::parse(r#"[{"address":"10.0.0.1:1","addresses":["[::1]:1"]}]"#).unwrap();
    assert_eq!(both.endpoints[0].addresses.len(), 2);
    assert!(format::parse("[]").unwrap().endpoints.is_empty(), "written down, so meant");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_place() {
    for (text, problem) in [
        ("", "lists no endpoints; write [] to mean none"),
        ("# all gone", "lists no endpoints; write [] to mean none"),
        (
            "\n10.0.0.1",
            "line 2: \"10.0.0.1\" is not a literal address with a port, such as 192.0.2.1:443, and not unix:/path",
        ),
        ("10.0.0.1:1\n10.0.0.1:1", "10.0.0.1:1 is listed twice"),
        ("10.0.0.1:1 2", "line 1: \"2\" is not a key with a value, such as weight=2"),
        ("10.0.0.1:1 weight=0", "line 1: weight is at least 1; leave the endpoint out to not use it"),
        ("10.0.0.1:1 weight=x", "line 1: weight is a whole number, not \"x\""),
        ("10.0.0.1:1 zone=x", "line 1: \"zone\" is none of weight, locality, priority, hash_key, hostname"),
        ("[{}]", "endpoints[0]: has 0 addresses; 1 to 16 are right"),
        (
            r#"[{"address":"10.0.0.1:0"}]"#,
            "endpoints[0]: \"10.0.0.1:0\" is not a literal address with a port, such as 192.0.2.1:443, and not unix:/path",
        ),
        (
            r#"{"endpoints":[],"serviceConfig":{"methodConfig":7}}"#,
            "serviceConfig: methodConfig: expected a list, found 7",
        ),
    ] {
        assert_eq!(format::parse(text).unwrap_err(), problem, "{text}");
    }
    for text in [
        "{}",
        "[1]",
        r#"[{"address":"10.0.0.1:1","zone":"a"}]"#,
        r#"{"endpoints":[],"other":1}"#,
        "[{\"address\"",
    ] {
        assert!(format::parse(text).is_err(), "{text}");
    }
    let many: Vec<_> = (0..4097u16).map(|n| format!("10.0.{}.{}:1", n / 256, n % 256)).collect();
    assert_eq!(format::parse(&many.join("\n")).unwrap_err(), "4097 endpoints are more than 4096");
}

#[test]
fn a_large_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let file = fs::File::create(&path).unwrap();
    file.set_len(FILE_SIZE_BYTES_MAX + 1).unwrap();
    assert!(read(&path).unwrap_err().to_string().starts_with("is larger"));
}
