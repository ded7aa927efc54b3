use super::*;

fn grant(toml: &str) -> TcpGrant {
    toml::from_str(toml).unwrap()
}

fn judge(grant: &TcpGrant) -> TcpJudge {
    TcpJudge::new(grant)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Looks a name up, as if it had these addresses.
fn look_up(
    judge: &mut TcpJudge,
    grant: &TcpGrant,
    name: &str,
    addresses: &[&str],
) -> Result<Vec<IpAddr>, TcpRefusal> {
    let name = judge.look_up(grant, name)?;
    judge.found(grant, &name, addresses.iter().map(|address| ip(address)))
}

impl TcpRefusal {
    /// Its first line, which the hint follows.
    fn said(&self) -> String {
        let text = self.text("paint");
        let (said, hint) = text.split_once('\n').unwrap();
        assert!(hint.ends_with(" in `[queues.paint.grants.tcp]`"), "{hint}");
        said.to_owned()
    }
}

const DB: &str = "hosts = [\"db.example:5432\", \"*.cache.example:6379\"]\n";

#[test]
fn only_granted_names_are_looked_up() {
    let grant = grant(DB);
    let mut judge = judge(&grant);
    for name in [
        "db.example",
        "DB.example.",
        "a.cache.example",
        "a.b.cache.example",
    ] {
        assert!(judge.look_up(&grant, name).is_ok(), "{name}");
    }
    for name in [
        "evil.example",
        "cache.example",
        "xcache.example",
        "db.example.evil.example",
        "db.example\0.cache.example",
        "a b.cache.example",
        ".cache.example",
        "..cache.example",
        "127.0.0.1",
        "::1",
        "",
        "localhost",
    ] {
        let refused = judge.look_up(&grant, name).unwrap_err();
        assert!(matches!(refused, TcpRefusal::Name(_)), "{name}");
    }
    let refused = judge.look_up(&grant, "evil\n.example").unwrap_err();
    assert_eq!(
        refused.said(),
        "look-up of evil\\n.example was refused: not in grants.tcp.hosts of queue paint"
    );
    let long = judge.look_up(&grant, &"x".repeat(1 << 20)).unwrap_err();
    assert!(long.said().len() < 400);
}

#[test]
fn address_is_admitted_with_the_port_of_a_name_that_was_looked_up() {
    let grant = grant(DB);
    let mut judge = judge(&grant);
    let refused = judge.connect(&grant, at("93.184.215.14:5432")).unwrap_err();
    assert_eq!(
        refused.said(),
        "connection to 93.184.215.14:5432 was refused: not in grants.tcp.hosts of queue paint",
        "it was not looked up"
    );
    look_up(&mut judge, &grant, "db.example", &["93.184.215.14"]).unwrap();
    judge.connect(&grant, at("93.184.215.14:5432")).unwrap();
    let refused = judge.connect(&grant, at("93.184.215.14:5433")).unwrap_err();
    assert_eq!(
        refused.said(),
        "connection to db.example:5433 was refused: not in grants.tcp.hosts of queue paint"
    );
    // The port of another name is not that of this one, until both have the same address.
    assert!(judge.connect(&grant, at("93.184.215.14:6379")).is_err());
    look_up(&mut judge, &grant, "a.cache.example", &["93.184.215.14"]).unwrap();
    judge.connect(&grant, at("93.184.215.14:6379")).unwrap();
    assert!(judge.connect(&grant, at("93.184.215.15:5432")).is_err());
}

#[test]
fn next_attempt_begins_with_no_address() {
    let grant = grant(DB);
    let mut first = judge(&grant);
    look_up(&mut first, &grant, "db.example", &["93.184.215.14"]).unwrap();
    let mut next = judge(&grant);
    assert!(next.connect(&grant, at("93.184.215.14:5432")).is_err());
}

/// A name that answers with a public address first and a private one later, or with both at once.
#[test]
fn second_answer_of_a_name_is_judged_as_the_first() {
    let grant = grant(DB);
    let mut judge = judge(&grant);
    look_up(&mut judge, &grant, "db.example", &["93.184.215.14"]).unwrap();
    for inside in [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
    ] {
        let refused = look_up(&mut judge, &grant, "db.example", &[inside]).unwrap_err();
        assert_eq!(
            refused.said(),
            format!(
                "connection to db.example was refused: its address {inside} is private and not in grants.tcp.private of queue paint"
            )
        );
        let there = SocketAddr::new(ip(inside), 5432);
        assert!(judge.connect(&grant, there).is_err(), "{inside}");
    }
    let both = ["127.0.0.1", "93.184.215.15"];
    let given = look_up(&mut judge, &grant, "db.example", &both).unwrap();
    assert_eq!(given, [ip("93.184.215.15")]);
    assert!(judge.connect(&grant, at("127.0.0.1:5432")).is_err());
    // What was found before stays connectable: that address was judged, and the connection goes there.
    judge.connect(&grant, at("93.184.215.14:5432")).unwrap();
}

#[test]
fn private_addresses_must_be_named() {
    let named = format!("{DB}private = [\"10.1.0.0/16\"]");
    let grant = grant(&named);
    let mut judge = judge(&grant);
    look_up(&mut judge, &grant, "db.example", &["10.1.2.3"]).unwrap();
    judge.connect(&grant, at("10.1.2.3:5432")).unwrap();
    assert!(look_up(&mut judge, &grant, "db.example", &["10.2.0.1"]).is_err());
}

#[test]
fn addresses_may_be_granted_themselves() {
    let grant = grant("hosts = [\"127.0.0.1:6379\", \"[::1]:6379\"]");
    let mut judge = judge(&grant);
    judge.connect(&grant, at("127.0.0.1:6379")).unwrap();
    judge.connect(&grant, at("[::1]:6379")).unwrap();
    for other in [
        "127.0.0.1:6380",
        "127.0.0.2:6379",
        "[::ffff:127.0.0.1]:6379",
        "[::2]:6379",
    ] {
        assert!(judge.connect(&grant, at(other)).is_err(), "{other}");
    }
    for (name, address) in [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("0:0::1", "::1"),
    ] {
        let found = look_up(&mut judge, &grant, name, &[address]).unwrap();
        assert_eq!(found, [ip(address)]);
    }
}

#[test]
fn attempts_are_counted_whether_they_succeed_or_not() {
    let grant = grant(&format!("{DB}connections_total_max = 3"));
    let mut judge = judge(&grant);
    for _ in 0..3 {
        assert!(judge.connect(&grant, at("10.0.0.1:1")).is_err());
        assert!(judge.look_up(&grant, "evil.example").is_err());
    }
    look_up(&mut judge, &grant, "db.example", &[]).unwrap_err();
    let refused = judge.connect(&grant, at("10.0.0.1:1")).unwrap_err();
    assert_eq!(
        refused.said(),
        "connection was refused: the attempt has made 3, the limit in grants.tcp.connections_total_max of queue paint"
    );
}

#[test]
fn name_with_thousands_of_addresses_is_cut() {
    let grant = grant(DB);
    let mut judge = judge(&grant);
    let name = judge.look_up(&grant, "db.example").unwrap();
    let many = (0..10_000u32).map(|n| IpAddr::from((0x0808_0000 + n).to_be_bytes()));
    let given = judge.found(&grant, &name, many).unwrap();
    assert_eq!((given.len(), judge.names.len()), (32, 32));
}

#[test]
fn certificates_are_those_of_granted_names() {
    let grant = grant(DB);
    for name in ["db.example", "DB.example", "a.cache.example"] {
        judge_tls(&grant, name).unwrap();
    }
    for name in ["evil.example", "cache.example", "127.0.0.1", ""] {
        assert!(judge_tls(&grant, name).is_err(), "{name}");
    }
}

#[test]
fn grant_is_written_as_it_was_read() {
    let toml = "hosts = [\"*.db.example:5432\", \"[::1]:25\"]\nca_file = \"ca.pem\"\n";
    let written = toml::to_string(&grant(toml)).unwrap();
    assert_eq!(grant(&written), grant(toml));
    let error = toml::from_str::<TcpGrant>("hosts = [\"db.example\"]").unwrap_err();
    assert!(error.to_string().contains("has no port"), "{error}");
    let schema = serde_json::to_value(schemars::schema_for!(HostAndPort)).unwrap();
    assert_eq!(schema["type"], "string");
}
