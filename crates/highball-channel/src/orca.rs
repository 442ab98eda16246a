//! What a backend reports of its own load (gRFC A51): `xds.data.orca.v3.OrcaLoadReport`, read by hand because five numbers and
//! one map do not need a code generator.

pub(crate) mod wire;

use highball_core::status::decode_binary;
use http::{HeaderMap, HeaderName};

use self::wire::{Value, fields};

/// The trailer that carries the report of one call.
pub(crate) const TRAILER: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// Longer reports are ignored as a whole: a handful of numbers is what is wanted.
pub(crate) const SIZE_BYTES_MAX: usize = 16 * 1024;

/// Named metrics kept of one report. Further ones are ignored.
const NAMED_METRICS_MAX: usize = 64;

/// Longest name kept. Longer ones are ignored.
const NAME_SIZE_BYTES_MAX: usize = 256;

/// A report. Numbers that were not reported are zero; whoever uses them treats zero, negative and NaN as missing.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct OrcaReport {
    /// CPU in use; 1.0 is all of what it may use, more is possible.
    pub(crate) cpu_utilization: f64,
    /// Memory in use, 0 to 1.
    pub(crate) mem_utilization: f64,
    /// What the application calls its utilization; preferred where it is set.
    pub(crate) application_utilization: f64,
    /// Queries per second.
    pub(crate) qps: f64,
    /// Errors per second.
    pub(crate) eps: f64,
    /// Whatever else the application names.
    pub(crate) named_metrics: Vec<(String, f64)>,
}

impl OrcaReport {
    /// The report in a call's trailers. `None` without one and for anything that is not exactly one readable report.
    pub(crate) fn from_trailers(trailers: &HeaderMap) -> Option<Self> {
        let mut values = trailers.get_all(TRAILER).iter();
        let value = values.next()?;
        // Two reports contradict each other, and nothing says which is newer.
        if values.next().is_some() || value.len() > SIZE_BYTES_MAX {
            return None;
        }
        Self::decode(&decode_binary(value.as_bytes())?)
    }

    /// Reads an encoded `OrcaLoadReport`. Unknown fields are skipped. `None` when it is not one, or longer than 16 KiB.
    pub(crate) fn decode(encoded: &[u8]) -> Option<Self> {
        if encoded.len() > SIZE_BYTES_MAX {
            return None;
        }
        let mut report = Self::default();
        for field in fields(encoded) {
            match field.ok()? {
                (1, Value::Fixed64(bits)) => report.cpu_utilization = f64::from_bits(bits),
                (2, Value::Fixed64(bits)) => report.mem_utilization = f64::from_bits(bits),
                (6, Value::Fixed64(bits)) => report.qps = f64::from_bits(bits),
                (7, Value::Fixed64(bits)) => report.eps = f64::from_bits(bits),
                (8, Value::Bytes(bytes)) => {
                    let (name, value) = entry(bytes)?;
                    report.name(name, value);
                }
                (9, Value::Fixed64(bits)) => report.application_utilization = f64::from_bits(bits),
                _ => {}
            }
        }
        Some(report)
    }

    /// A metric by the name the service config calls it (gRFC A114): `cpu_utilization`, `mem_utilization`,
    /// `application_utilization` or `named_metrics.` and a name.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        match name {
            "application_utilization" => Some(self.application_utilization),
            "cpu_utilization" => Some(self.cpu_utilization),
            "mem_utilization" => Some(self.mem_utilization),
            _ => {
                let key = name.strip_prefix("named_metrics.")?;
                self.named_metrics.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
            }
        }
    }

    fn name(&mut self, name: &str, value: f64) {
        if let Some((_, present)) = self.named_metrics.iter_mut().find(|(present, _)| present == name) {
            // Protobuf maps: the last entry of a key counts.
            *present = value;
        } else if self.named_metrics.len() < NAMED_METRICS_MAX && name.len() <= NAME_SIZE_BYTES_MAX {
            self.named_metrics.push((name.to_owned(), value));
        }
    }
}

/// A map entry is a message: 1 is the key, 2 the value; either may be absent.
fn entry(encoded: &[u8]) -> Option<(&str, f64)> {
    let mut found = ("", 0.0);
    for field in fields(encoded) {
        match field.ok()? {
            (1, Value::Bytes(bytes)) => found.0 = str::from_utf8(bytes).ok()?,
            (2, Value::Fixed64(bits)) => found.1 = f64::from_bits(bits),
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Field numbers as in cncf/xds `xds/data/orca/v3/orca_load_report.proto`.
    fn encode(report: &OrcaReport) -> Vec<u8> {
        let mut out = Vec::new();
        let numbers = [
            (1, report.cpu_utilization),
            (2, report.mem_utilization),
            (6, report.qps),
            (7, report.eps),
            (9, report.application_utilization),
        ];
        for (field, value) in numbers {
            fixed(field, value, &mut out);
        }
        for (name, value) in &report.named_metrics {
            let mut entry = vec![10, u8::try_from(name.len()).unwrap()];
            entry.extend_from_slice(name.as_bytes());
            fixed(2, *value, &mut entry);
            out.extend([66, u8::try_from(entry.len()).unwrap()]);
            out.extend(entry);
        }
        out
    }

    fn fixed(field: u8, value: f64, out: &mut Vec<u8>) {
        out.push(field << 3 | 1);
        out.extend(value.to_le_bytes());
    }

    #[test]
    fn a_report_on_the_wire_is_read() {
        // cpu_utilization: 0.5, rps_fractional: 8, named_metrics { "queue": 0.25 }, and field 3 (rps), which is obsolete.
        let wire = b"\x09\0\0\0\0\0\0\xe0\x3f\x18\x07\x31\0\0\0\0\0\0\x20\x40\x42\x10\x0a\x05queue\x11\0\0\0\0\0\0\xd0\x3f";
        let report = OrcaReport::decode(wire).unwrap();
        let want = OrcaReport {
            cpu_utilization: 0.5,
            qps: 8.0,
            named_metrics: vec![("queue".to_owned(), 0.25)],
            ..OrcaReport::default()
        };
        assert_eq!(report, want);
        assert_eq!(report.metric("named_metrics.queue"), Some(0.25));
        assert_eq!(report.metric("named_metrics.other"), None);
        assert_eq!(report.metric("utilization.queue"), None);
        assert_eq!(report.metric("cpu_utilization"), Some(0.5));
    }

    #[test]
    fn the_trailer_is_base64_and_single() {
        let mut trailers = HeaderMap::new();
        assert_eq!(OrcaReport::from_trailers(&trailers), None);
        trailers.insert(TRAILER, "CQAAAAAAAOA/".parse().unwrap());
        assert_eq!(OrcaReport::from_trailers(&trailers).unwrap().cpu_utilization, 0.5);
        trailers.append(TRAILER, "CQAAAAAAAOA/".parse().unwrap());
        assert_eq!(OrcaReport::from_trailers(&trailers), None);
    }

    #[test]
    fn a_report_without_end_is_not_kept() {
        let many = OrcaReport {
            named_metrics: (0..200).map(|n| (format!("metric-{n}"), 1.0)).collect(),
            ..OrcaReport::default()
        };
        assert_eq!(OrcaReport::decode(&encode(&many)).unwrap().named_metrics.len(), NAMED_METRICS_MAX);
        assert_eq!(OrcaReport::decode(&vec![0; SIZE_BYTES_MAX + 1]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _report = OrcaReport::decode(&bytes);
        }

        #[test]
        fn what_is_written_is_read(
            numbers in prop::array::uniform5(any::<f32>()),
            named in prop::collection::btree_map("[a-z]{1,9}", any::<f32>(), 0..5),
            cut in any::<prop::sample::Index>(),
        ) {
            prop_assume!(numbers.iter().chain(named.values()).all(|number| !number.is_nan()));
            let [cpu, mem, application, qps, eps] = numbers.map(f64::from);
            let report = OrcaReport {
                cpu_utilization: cpu,
                mem_utilization: mem,
                application_utilization: application,
                qps,
                eps,
                named_metrics: named.into_iter().map(|(name, value)| (name, f64::from(value))).collect(),
            };
            let wire = encode(&report);
            prop_assert_eq!(OrcaReport::decode(&wire), Some(report));
            // Cut anywhere it is another report or none, never a panic.
            let _report = OrcaReport::decode(&wire[..cut.index(wire.len())]);
        }
    }
}
