//! Rules of the configuration, as tables of what is typed and what comes of it.

use super::*;
use mesh::id::NodeId;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[derive(Default)]
struct Typed {
    sources: Sources,
    files: Vec<tempfile::NamedTempFile>,
}

impl Typed {
    fn flag(mut self, name: &'static str, value: &str) -> Self {
        let values = self.sources.flags.entry(name).or_default();
        values.push(value.to_owned());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources
            .environment
            .push((name.to_owned(), value.to_owned()));
        self
    }

    fn written(&mut self, text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        self.files.push(file);
        path
    }

    fn file(mut self, text: &str) -> Self {
        let path = self.written(text);
        self.flag("config", &path)
    }

    fn load(&self) -> Result<Loaded, Mistakes> {
        load(&self.sources)
    }

    fn config(&self) -> Config {
        self.load().unwrap().config
    }

    /// Every mistake, one per line.
    fn refusal(&self) -> String {
        let mistakes = self.load().expect_err("refused").0;
        let lines = mistakes.iter().map(|mistake| format!("{mistake}\n"));
        lines.collect()
    }
}

fn nothing() -> Typed {
    Typed::default()
}

#[test]
fn with_nothing_set_a_node_is_open_on_loopback_only() {
    let config = nothing().config();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.mesh_listen.to_string(), "127.0.0.1:8090");
    assert!(config.open && config.listen.is_loopback() && config.mesh_listen.is_loopback());
    assert_eq!(config.admin_listen, None);
    assert_eq!((config.max_frame, config.max_body), (65_536, 32_768));
    assert_eq!(config.ping_interval, Duration::from_secs(25));
    assert_eq!(config.append_timeout, Duration::from_secs(5));
    assert_eq!((config.min_copies, config.weight), (1, 1));
    assert_eq!(config.min_free, 512 << 20);
    assert_eq!(config.data, PathBuf::from("./chinwag-data"));
    assert_eq!(
        (config.mesh_name.as_str(), config.log.as_str()),
        ("default", "info")
    );
    assert_eq!(config.stop_timeout, Duration::from_secs(30));
    assert_eq!((config.mdns, config.mesh_key), (false, None));
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let file = "weight = 3\nmin_copies = 3\nmesh_name = \"file\"\npeer = [\"c:3\"]";
    let typed = nothing()
        .file(file)
        .env("CHINWAG_WEIGHT", "2")
        .env("CHINWAG_MIN_COPIES", "2")
        .env("CHINWAG_PEER", "a:1, b:2")
        .flag("weight", "1");
    let loaded = typed.load().unwrap();
    let config = loaded.config;
    assert_eq!((config.weight, config.min_copies), (1, 2));
    assert_eq!(config.mesh_name, "file");
    let peers: Vec<&str> = config.peers.iter().map(|p| p.address.as_str()).collect();
    assert_eq!(peers, ["a:1", "b:2"]);

    let origin = |name| {
        let mut all = loaded.in_force.iter();
        all.find(|s| s.name == name).unwrap().origin.clone()
    };
    assert_eq!(origin("weight"), Origin::Flag);
    assert_eq!(origin("min-copies"), Origin::Environment);
    assert!(matches!(origin("mesh-name"), Origin::File(_)));
    assert_eq!(origin("listen"), Origin::Default);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let typed = nothing()
        .env("CHINWAG_WEIGHT", "")
        .env("CHINWAG_MESH_KEY", "");
    assert_eq!(typed.config().weight, 1);
}

#[test]
fn all_mistakes_are_reported_at_once_each_with_its_place() {
    let typed = nothing()
        .file("weight = true\ncolour = \"red\"\npeer = \"a:1\"")
        .env("CHINWAG_MIN_COPIES", "4")
        .env("CHINWAG_LISTENN", "x")
        .flag("listen", "here")
        .flag("peer", "no-port");
    let refusal = typed.refusal();
    for part in [
        "weight in /",
        "colour in /",
        "CHINWAG_MIN_COPIES: \"4\"",
        "a whole number from 1 to 3",
        "CHINWAG_LISTENN: there is no such variable; expected: perhaps CHINWAG_LISTEN",
        "--listen: \"here\" has no port",
        "--peer: \"no-port\"",
        "peer in /",
    ] {
        assert!(refusal.contains(part), "{part} is missing in\n{refusal}");
    }
    assert_eq!(refusal.lines().count(), 7, "{refusal}");
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_a_mistake() {
    let missing = nothing().env("CHINWAG_CONFIG", "/nonexistent/x.toml");
    assert!(
        missing
            .refusal()
            .starts_with("CHINWAG_CONFIG: /nonexistent/x.toml cannot be read")
    );
    assert!(nothing().file("listen = ").refusal().contains("not TOML"));
    let nested = nothing().file("config = \"other.toml\"").refusal();
    assert!(nested.contains("config in /"), "{nested}");
}

#[test]
fn variables_of_others_are_no_mistake() {
    let typed = nothing()
        .env("CHINWAG_SERVICE_HOST", "10.0.0.1")
        .env("CHINWAG_SERVICE_PORT_HTTP", "8080")
        .env("CHINWAG_PORT", "tcp://10.0.0.1:8080")
        .env("CHINWAG_MESH_PORT_8090_TCP_ADDR", "10.0.0.1")
        .env("CHINWAG_BIN", "target/debug/chinwag");
    typed.config();
    let slip = nothing().env("CHINWAG_PEERS", "a:1").refusal();
    assert!(slip.contains("perhaps CHINWAG_PEER"), "{slip}");
}

#[test]
fn peers_are_reached_only_with_a_mesh_key() {
    let outside = || nothing().flag("mesh-listen", "0.0.0.0:8090");
    assert!(
        outside()
            .refusal()
            .contains("--mesh-key-file FILE or CHINWAG_MESH_KEY")
    );
    let config = outside().env("CHINWAG_MESH_KEY", KEY).config();
    assert_eq!(config.mesh_key.unwrap().to_hex(), KEY);
    for loopback in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"] {
        nothing().flag("mesh-listen", loopback).config();
    }
    for reachable in ["[::]:1", "192.0.2.1:1", "node1:1"] {
        nothing().flag("mesh-listen", reachable).refusal();
    }
}

#[test]
fn clients_from_elsewhere_are_open_only_on_purpose() {
    let outside = || nothing().flag("listen", "0.0.0.0:8080");
    assert!(outside().refusal().contains("--open"));
    assert!(outside().flag("open", "false").refusal().contains("--open"));
    assert!(outside().flag("open", "true").config().open);
    assert!(outside().env("CHINWAG_OPEN", "yes").config().open);
    assert!(!nothing().flag("open", "false").config().open);
}

#[test]
fn a_mesh_key_is_hex_or_base64_of_32_bytes() {
    let bytes: Vec<u8> = (0..32).collect();
    let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for text in [
        KEY,
        &KEY.to_uppercase(),
        base64,
        base64.trim_end_matches('='),
    ] {
        let key = MeshKey::parse(&format!("  {text}\n")).unwrap();
        assert_eq!(key.as_bytes()[..], bytes, "{text}");
    }
    for bad in ["", "00", &KEY[1..], &KEY.replace('0', "g"), "AAECAw=="] {
        assert_eq!(MeshKey::parse(bad), None, "{bad}");
    }
    let fresh = || MeshKey::generate().unwrap();
    assert_ne!(fresh(), fresh());
    assert_eq!(
        MeshKey::parse(&fresh().to_hex()).unwrap().to_hex().len(),
        64
    );
}

#[test]
fn a_wrong_key_is_refused_without_being_repeated() {
    let refusal = nothing().env("CHINWAG_MESH_KEY", "hunter2").refusal();
    assert!(refusal.starts_with("CHINWAG_MESH_KEY: is no key (7 characters)"));
    assert!(!refusal.contains("hunter2"));
    let missing = nothing().flag("mesh-key-file", "/nonexistent/key");
    assert!(
        missing
            .refusal()
            .starts_with("--mesh-key-file: /nonexistent/key cannot be read")
    );
}

#[test]
fn of_a_key_file_and_a_key_the_stronger_source_counts() {
    let other = KEY.replace('0', "f");
    let mut typed = nothing();
    let path = typed.written(&other);
    let by_flag = typed
        .env("CHINWAG_MESH_KEY", KEY)
        .flag("mesh-key-file", &path);
    assert_eq!(by_flag.config().mesh_key.unwrap().to_hex(), other);

    let mut typed = nothing();
    let path = typed.written(&other);
    let by_file = typed
        .file(&format!("mesh_key_file = \"{path}\""))
        .env("CHINWAG_MESH_KEY", KEY);
    assert_eq!(by_file.config().mesh_key.unwrap().to_hex(), KEY);

    let both = nothing()
        .env("CHINWAG_MESH_KEY", KEY)
        .env("CHINWAG_MESH_KEY_FILE", "/x");
    assert!(both.refusal().contains("one of the two"));
}

#[test]
fn a_peer_is_named_in_three_forms() {
    let id = NodeId([7; 32]);
    let with_id = format!("/dns4/node1.example.org/tcp/8090/p2p/{id}");
    for (text, address, every, node) in [
        ("127.0.0.1:8090", "127.0.0.1:8090", false, None),
        ("node1:8090", "node1:8090", false, None),
        ("[::1]:8090", "[::1]:8090", false, None),
        ("dns:8090", "dns:8090", false, None),
        ("dns:mesh.local:8090", "mesh.local:8090", true, None),
        ("/ip4/192.0.2.1/tcp/1", "192.0.2.1:1", false, None),
        ("/ip6/::1/tcp/1", "[::1]:1", false, None),
        (&with_id, "node1.example.org:8090", false, Some(id)),
    ] {
        let peers = nothing().flag("peer", text).config().peers;
        let expected = Contact {
            address: PeerAddress::parse(address).unwrap(),
            every,
            node,
        };
        assert_eq!(peers, [expected], "{text}");
    }
}

#[test]
fn what_names_no_peer_is_refused() {
    for bad in [
        "",
        "node1",
        "node1:",
        "node1:0",
        "node1:99999",
        ":8090",
        "::1:8090",
        "a b:1",
        "dns:192.0.2.1:8090",
        "dns::8090",
        "/ip4/192.0.2.1",
        "/ip4/node1/tcp/1",
        "/ip4/192.0.2.1/udp/1",
        "/ip4/192.0.2.1/tcp/0",
        "/ip4/192.0.2.1/tcp/1/p2p/x",
        "/ip4/192.0.2.1/tcp/1/ws",
        "/unix/x/tcp/1",
        "/dns//tcp/1",
    ] {
        assert!(
            nothing().flag("peer", bad).refusal().contains("--peer"),
            "{bad}"
        );
    }
}

#[test]
fn sizes_and_times_have_units_and_bounds() {
    let frame = |text: &str| nothing().flag("max-frame", text);
    assert_eq!(frame("128KiB").config().max_frame, 131_072);
    assert_eq!(frame("100 KiB").config().max_frame, 102_400);
    for bad in ["0", "64KB", "-1", "2GiB", "", "99999999999999999999GiB"] {
        frame(bad).refusal();
    }
    let ping = |text: &str| nothing().flag("ping-interval", text);
    assert_eq!(
        ping("0.5").config().ping_interval,
        Duration::from_millis(500)
    );
    assert_eq!(ping("10s").config().ping_interval, Duration::from_secs(10));
    for bad in ["0", "-1", "1m", "inf", "NaN", "1e9"] {
        ping(bad).refusal();
    }
}

#[test]
fn a_body_never_exceeds_the_frame() {
    let small = nothing().flag("max-frame", "4KiB");
    assert_eq!(small.config().max_body, 4096);
    let asked = nothing().flag("max-frame", "4KiB").flag("max-body", "8KiB");
    assert!(asked.refusal().starts_with("--max-body"));
}

#[test]
fn two_listeners_cannot_have_one_port() {
    let same = nothing().flag("listen", "127.0.0.1:8090");
    assert!(
        same.refusal()
            .contains("--mesh-listen: 127.0.0.1:8090 is taken by --listen")
    );
    let wildcard = nothing().flag("admin-listen", "0.0.0.0:8080");
    assert!(wildcard.refusal().contains("--admin-listen"));
    let any = nothing()
        .flag("listen", "127.0.0.1:0")
        .flag("mesh-listen", "127.0.0.1:0");
    any.config();
}

#[test]
fn addresses_told_to_others_can_be_dialled() {
    for bad in ["0.0.0.0:1", "host:0", "host", "[::]:1"] {
        nothing().flag("advertise", bad).refusal();
    }
    assert_eq!(
        nothing().flag("advertise", "h:1").config().advertise.len(),
        1
    );
    for bad in ["http://x/ws", "x:80", "ws://"] {
        nothing().flag("advertise-url", bad).refusal();
    }
    let url = nothing()
        .flag("advertise-url", "wss://x.example/ws")
        .config();
    assert_eq!(url.advertise_url.as_deref(), Some("wss://x.example/ws"));
}

#[test]
fn an_origin_is_kept_as_browsers_send_it() {
    let origin = |text: &str| nothing().flag("allow-origin", text);
    assert_eq!(
        origin("HTTPS://Chat.Example.org/").config().allow_origin,
        ["https://chat.example.org"]
    );
    assert_eq!(origin("*").config().allow_origin, ["*"]);
    for bad in ["example.org", "https://x/path", "https://x?y"] {
        origin(bad).refusal();
    }
}

#[test]
fn log_lines_are_for_people_on_a_terminal_and_json_elsewhere() {
    let mut typed = nothing();
    assert_eq!(typed.config().log_format, LogFormat::Json);
    typed.sources.terminal = true;
    assert_eq!(typed.config().log_format, LogFormat::Human);
    nothing().flag("log", "info,mesh=debug").config();
    nothing().flag("log", "mesh=loud").refusal();
    nothing().flag("log-format", "xml").refusal();
}

#[test]
fn the_configuration_in_force_is_shown_as_a_valid_file_without_secrets() {
    let loaded = nothing()
        .env("CHINWAG_MESH_KEY", KEY)
        .env("CHINWAG_STOP_TIMEOUT", "3")
        .flag("peer", "a:1")
        .flag("weight", "2")
        .load()
        .unwrap();
    let text = show(&loaded);
    assert!(
        !text.contains(KEY) && text.contains("CHINWAG_MESH_KEY (hidden)"),
        "{text}"
    );
    assert!(text.contains("# flag --weight"), "{text}");
    assert!(
        text.contains("# environment CHINWAG_STOP_TIMEOUT"),
        "{text}"
    );
    let again = nothing().file(&text).env("CHINWAG_MESH_KEY", KEY).config();
    assert_eq!(again, loaded.config);
}

#[test]
fn every_setting_is_read_and_shown_once() {
    let loaded = nothing().load().unwrap();
    let shown: Vec<&str> = loaded.in_force.iter().map(|setting| setting.name).collect();
    let table: Vec<&str> = settings::SETTINGS
        .iter()
        .map(|setting| setting.name)
        .collect();
    assert_eq!(shown, table);
}
