//! What a node remembers, and what becomes of damaged files.

use mesh::proto::membership::Record;

use mesh::id::NodeId;

use super::*;

fn directory() -> (tempfile::TempDir, DataDir) {
    let parent = tempfile::tempdir().unwrap();
    let data = DataDir::open(&parent.path().join("data")).unwrap();
    (parent, data)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn member(seen_unix_ms: u64) -> KeptMember {
    KeptMember {
        record: Record {
            node: NodeId([3; 32]),
            epoch: Epoch(5),
            incarnation: 1,
            addresses: vec![
                "127.0.0.1:8090"
                    .parse::<std::net::SocketAddr>()
                    .unwrap()
                    .into(),
            ],
            url: None,
            weight: 1,
            version: "0.1.0".to_owned(),
        },
        seen_unix_ms,
    }
}

#[test]
fn a_node_keeps_its_identity_and_only_its_owner_can_read_it() {
    let (_parent, data) = directory();
    let first = data.identity().unwrap().node();
    assert_eq!(data.identity().unwrap().node(), first);
    assert_eq!(mode(data.path()), 0o700);
    assert_eq!(mode(&data.path().join("identity")), 0o600);
}

#[test]
fn a_damaged_identity_is_an_error_and_stays_as_it_is() {
    let (_parent, data) = directory();
    let path = data.path().join("identity");
    fs::write(&path, b"short").unwrap();
    let error = data.identity().unwrap_err().to_string();
    assert!(error.contains("5 bytes"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"short");
}

#[test]
fn two_nodes_cannot_share_a_directory() {
    let (_parent, data) = directory();
    let second = DataDir::open(data.path());
    assert!(matches!(second, Err(DataDirError::Locked(_))), "{second:?}");
    let path = data.path().to_owned();
    drop(data);
    DataDir::open(&path).unwrap();
}

#[test]
fn epochs_rise_though_the_clock_goes_back() {
    let (_parent, data) = directory();
    assert_eq!(data.next_epoch(1_000).unwrap(), Epoch(1_000));
    assert_eq!(data.next_epoch(500).unwrap(), Epoch(1_001));
    data.keep_epoch(Epoch(9_000)).unwrap();
    assert_eq!(data.next_epoch(2_000).unwrap(), Epoch(9_001));
    fs::write(data.path().join("epoch"), "nonsense").unwrap();
    assert_eq!(data.next_epoch(3_000).unwrap(), Epoch(3_000));
}

#[test]
fn members_are_kept_and_a_damaged_list_is_forgotten_as_a_whole() {
    let (_parent, data) = directory();
    assert_eq!(data.members(), []);
    data.keep_members(&[member(1), member(2)]).unwrap();
    assert_eq!(data.members(), [member(1), member(2)]);

    let path = data.path().join("members");
    let good = fs::read(&path).unwrap();
    for cut in 0..good.len() {
        fs::write(&path, &good[..cut]).unwrap();
        assert_eq!(data.members(), [], "cut at {cut}");
    }
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x40;
        fs::write(&path, bad).unwrap();
        assert_eq!(data.members(), [], "flipped at {position}");
    }
}

#[test]
fn the_ports_of_the_last_start_are_known_at_the_next() {
    let (_parent, data) = directory();
    assert_eq!(data.ports(), Ports::default());
    let ports = Ports {
        listen: Some(8080),
        mesh: Some(8090),
        admin: None,
    };
    data.keep_ports(ports).unwrap();
    assert_eq!(data.ports(), ports);
    fs::write(data.path().join("ports"), "listen=99999\nmesh").unwrap();
    assert_eq!(data.ports(), Ports::default());
}
