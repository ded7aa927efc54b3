//! The text format, read back.

use super::*;

/// Name, labels with their values unescaped, value.
type Sample = (String, Vec<(String, String)>, f64);

/// The samples of a text. Panics where it is malformed.
fn parse(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    lines.map(parse_sample).collect()
}

fn parse_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, value) = rest.trim_start_matches(',').split_once("=\"").unwrap();
            assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
            let (mut read, mut escaped, mut length) = (String::new(), false, None);
            for (at, character) in value.char_indices() {
                match (escaped, character) {
                    (true, 'n') => read.push('\n'),
                    (true, '"' | '\\') => read.push(character),
                    (true, other) => panic!("no such escape: {other}"),
                    (false, '\\') => {}
                    (false, '"') => {
                        length = Some(at);
                        break;
                    }
                    (false, other) => read.push(other),
                }
                escaped = !escaped && character == '\\';
            }
            labels.push((label.to_owned(), read));
            rest = &value[length.expect("the value ends") + 1..];
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
    (name.to_owned(), labels, value)
}

const MEMORY: GuestMemory = GuestMemory { held: 3, max: 4 };

fn gauges(queue: &str) -> QueueGauges<'_> {
    QueueGauges {
        queue,
        running: 1,
        concurrency: 2,
        paused: false,
        active: Some("sha256:\"a\""),
        candidate: None,
        versions: vec![("sha256:\"a\"", 1)],
    }
}

#[test]
fn labels_are_escaped_whatever_a_queue_is_called() {
    let metrics = Metrics::new();
    let names = [
        "a\"b",
        "back\\slash",
        "two\nlines",
        "plain",
        "a\\\"} 1\n# EOF",
    ];
    for name in names {
        let queue = metrics.queue(name);
        queue.taken.inc();
        queue.attempt(&Outcome::Wait, Duration::ZERO, Duration::ZERO);
    }
    let text = metrics.text(names.map(gauges), &MEMORY);
    assert_eq!(text.matches("\n# EOF\n").count(), 1);
    let samples = parse(&text);
    for family in [
        "toril_jobs_taken_total",
        "toril_jobs_running",
        "toril_paused",
    ] {
        let named = samples.iter().filter(|(name, ..)| name == family);
        let mut found: Vec<&str> = named.map(|(_, labels, _)| &*labels[0].1).collect();
        found.sort_unstable();
        let mut expected = names;
        expected.sort_unstable();
        assert_eq!(found, expected, "{family}");
    }
}

#[test]
fn metrics_are_described_as_they_are_written() {
    let metrics = Metrics::new();
    metrics.queue("any");
    let text = metrics.text([gauges("any")], &MEMORY);
    for description in metrics.descriptions() {
        let name = description.name.trim_end_matches("_total");
        let Description { kind, meaning, .. } = description;
        assert!(text.contains(&format!("# HELP {name} {meaning}.\n# TYPE {name} {kind}\n")));
        assert_eq!(*kind == "counter", description.name.ends_with("_total"));
    }
    assert_eq!(text.matches("# TYPE").count(), metrics.descriptions().len());
}
