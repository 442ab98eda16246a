//! `[limits]`, and the profile.

use highball_server::{Profile, Settings};

use super::table::{Item, Table};
use super::{LIST_MAX, keys};

/// A window of HTTP/2 (RFC 9113, section 6.9.2).
const WINDOW: std::ops::RangeInclusive<u32> = 65_535..=i32::MAX as u32;

/// Reads the limits of the server, from the table and from the top of the file.
pub(super) fn limits(file: &Table<'_>) -> Settings {
    let mut settings = Settings::default();
    let profiles = [("production", Profile::Production), ("development", Profile::Development)];
    if let Some(profile) = file.get("profile").and_then(|item| item.choice(&profiles)) {
        settings.profile = profile;
    }
    let boxes = file
        .get("open_boxes_allowed")
        .and_then(|item| item.each(LIST_MAX, |name| name.text().map(str::to_owned)));
    settings.open_boxes_allowed = boxes.unwrap_or_default();
    let Some(table) = file.get("limits").and_then(|item| item.table(&keys::LIMITS)) else { return settings };
    counts(&table, &mut settings);
    sizes(&table, &mut settings);
    times(&table, &mut settings);
    if let Some(item) = table.get("deadline_default")
        && settings.deadline_default > settings.deadline_cap
    {
        let (default, cap) = (settings.deadline_default, settings.deadline_cap);
        item.note(|| {
            format!("deadline_default is {default:?}, more than deadline_cap, {cap:?}; raise the cap")
        });
    }
    // What is written above knows the place of each problem; this knows all there are.
    if !table.notes.has_problems()
        && let Err(error) = settings.check()
    {
        table.problem(|| error.to_string());
    }
    settings
}

fn counts(table: &Table<'_>, settings: &mut Settings) {
    for (key, field) in [
        ("concurrent_rpcs_max", &mut settings.concurrent_rpcs_max),
        ("connections_max", &mut settings.connections_max),
        ("connections_per_peer_max", &mut settings.connections_per_peer_max),
    ] {
        replace(field, table.get(key).and_then(Item::count));
    }
    replace(
        &mut settings.connection.concurrent_streams_max,
        table.get("concurrent_streams_max").and_then(Item::count),
    );
}

fn sizes(table: &Table<'_>, settings: &mut Settings) {
    let connection = &mut settings.connection;
    for (key, field) in [
        ("message_size_max", &mut settings.message_size_bytes_max),
        ("send_buffer_size_max", &mut connection.send_buffer_size_bytes_max),
        ("buffered_size_max", &mut connection.buffered_size_bytes_max),
        ("unfinished_size_max", &mut connection.unfinished_size_bytes_max),
    ] {
        replace(field, table.get(key).and_then(Item::some_size));
    }
    let list = table.get("header_list_size_max").and_then(Item::some_size);
    replace(&mut connection.header_list_size_bytes_max, list);
    let window = table.get("receive_buffer_size_max").and_then(|item| match item.some_size::<u32>()? {
        size if WINDOW.contains(&size) => Some(size),
        _ => item.problem(|| {
            "receive_buffer_size_max must be between 65535B, where HTTP/2 begins, and below 2GiB".to_owned()
        }),
    });
    replace(&mut connection.receive_buffer_size_bytes_max, window);
}

fn times(table: &Table<'_>, settings: &mut Settings) {
    let connection = &mut settings.connection;
    for (key, field) in [
        ("deadline_default", &mut settings.deadline_default),
        ("deadline_cap", &mut settings.deadline_cap),
        ("handshake_timeout", &mut connection.handshake_timeout),
        ("preface_timeout", &mut connection.preface_timeout),
        ("header_timeout", &mut connection.header_timeout),
        ("write_stall", &mut connection.write_stall),
        ("connection_idle", &mut connection.idle_max),
        ("connection_age", &mut connection.age_max),
        ("keepalive_time", &mut connection.keepalive_time),
        ("keepalive_timeout", &mut connection.keepalive_timeout),
    ] {
        replace(field, table.get(key).and_then(Item::some_time));
    }
    for (key, field) in [
        ("stream_idle", &mut settings.stream_idle),
        ("lame_duck", &mut settings.lame_duck),
        ("drain_timeout", &mut settings.drain_timeout),
        ("connection_age_grace", &mut connection.age_grace),
    ] {
        replace(field, table.get(key).and_then(Item::duration));
    }
}

fn replace<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
