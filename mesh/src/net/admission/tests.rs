//! Both sides of an admission, from their bytes: each side's answer depends on what it has read only.

use super::*;

const KEY: [u8; 32] = [5; 32];

fn side(number: u8) -> Credentials<'static> {
    Credentials {
        node: NodeId([number; 32]),
        mesh_name: "default",
        key: &KEY,
        nonce: [0x10 + number; 32],
    }
}

/// What a side makes of what it reads, and what it says.
async fn hears(
    mine: &Credentials<'_>,
    peer: u8,
    role: Role,
    said: &[u8],
) -> (Result<(), Refusal>, Vec<u8>) {
    let mut says = Vec::new();
    let result = exchange(mine, NodeId([peer; 32]), role, said, &mut says).await;
    (result, says)
}

/// All that a dialler and a listener say to each other, and what they make of it.
async fn meet(
    dialler: &Credentials<'_>,
    listener: &Credentials<'_>,
) -> [(Result<(), Refusal>, Vec<u8>); 2] {
    let (a, b) = (dialler.node.0[0], listener.node.0[0]);
    let (mut from_a, mut from_b) = (Vec::new(), Vec::new());
    // A hello, then an answer to it, then an answer to that.
    for _ in 0..3 {
        (_, from_a) = hears(dialler, b, Role::Dialler, &from_b).await;
        (_, from_b) = hears(listener, a, Role::Listener, &from_a).await;
    }
    [
        hears(dialler, b, Role::Dialler, &from_b).await,
        hears(listener, a, Role::Listener, &from_a).await,
    ]
}

async fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    send(&mut bytes, message).await.unwrap();
    bytes
}

fn hello(version: u16, mesh: &str) -> Message {
    Message::Hello(Hello {
        version,
        mesh: mesh.to_owned(),
        nonce: [0x12; 32],
    })
}

#[tokio::test]
async fn two_nodes_of_a_mesh_admit_each_other() {
    let [(a, _), (b, _)] = meet(&side(1), &side(2)).await;
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
}

#[tokio::test]
async fn another_key_is_refused_by_both_and_both_know_why() {
    let key = [6; 32];
    let other = Credentials {
        key: &key,
        ..side(2)
    };
    let [(a, from_a), (b, _)] = meet(&side(1), &other).await;
    assert!(matches!(a, Err(Refusal::Key)), "{a:?}");
    assert!(matches!(b, Err(Refusal::Key)), "{b:?}");
    assert!(from_a.ends_with(&bytes(&Message::Refused(Reason::Proof)).await));
}

#[tokio::test]
async fn another_mesh_name_is_refused_before_anything_is_proved() {
    let other = Credentials {
        mesh_name: "x",
        ..side(2)
    };
    let [(a, from_a), (b, _)] = meet(&side(1), &other).await;
    let why = a.unwrap_err().to_string();
    assert_eq!(why, "belongs to mesh \"x\", this one to \"default\"");
    assert!(matches!(b, Err(Refusal::MeshName { .. })), "{b:?}");
    let mut all = hears(&side(1), 2, Role::Dialler, &[]).await.1;
    all.extend(bytes(&Message::Refused(Reason::MeshName)).await);
    assert_eq!(from_a, all);
}

#[tokio::test]
async fn what_a_side_said_itself_is_no_proof_when_it_comes_back() {
    // The stranger says what it hears.
    let mine = side(1);
    let mut echo = Vec::new();
    for _ in 0..3 {
        (_, echo) = hears(&mine, 2, Role::Dialler, &echo).await;
    }
    let (result, _) = hears(&mine, 2, Role::Dialler, &echo).await;
    assert!(matches!(result, Err(Refusal::Key)), "{result:?}");
}

#[tokio::test]
async fn a_proof_is_of_no_use_on_another_connection() {
    let [_, (_, from_b)] = meet(&side(1), &side(2)).await;
    let fresh = Credentials {
        nonce: [9; 32],
        ..side(1)
    };
    let (result, _) = hears(&fresh, 2, Role::Dialler, &from_b).await;
    assert!(matches!(result, Err(Refusal::Key)), "{result:?}");
    // Nor in the name of another node.
    let (result, _) = hears(&side(1), 3, Role::Dialler, &from_b).await;
    assert!(matches!(result, Err(Refusal::Key)), "{result:?}");
}

#[tokio::test]
async fn another_version_is_refused() {
    let said = bytes(&hello(VERSION + 1, "default")).await;
    let (result, says) = hears(&side(1), 2, Role::Dialler, &said).await;
    assert!(matches!(result, Err(Refusal::Version { theirs }) if theirs == VERSION + 1));
    assert!(says.ends_with(&bytes(&Message::Refused(Reason::Version)).await));
}

#[tokio::test]
async fn whatever_else_a_stranger_says_ends_the_admission() {
    let long = bytes(&hello(VERSION, &"x".repeat(MESH_NAME_MAX + 1))).await;
    let proof = bytes(&Message::Proof([0; 32])).await;
    let twice = bytes(&hello(VERSION, "default")).await.repeat(2);
    for junk in [&long[..], &proof, &twice, &[0xff; 600], &[1, 0, 9], &[0, 0]] {
        let (result, _) = hears(&side(1), 2, Role::Dialler, junk).await;
        assert!(
            matches!(result, Err(Refusal::Junk)),
            "{result:?} to {junk:?}"
        );
    }
}

#[tokio::test]
async fn every_beginning_of_an_admission_is_an_end_without_it() {
    let [_, (_, from_b)] = meet(&side(1), &side(2)).await;
    for length in 0..from_b.len() {
        let (result, _) = hears(&side(1), 2, Role::Dialler, &from_b[..length]).await;
        assert!(
            matches!(result, Err(Refusal::Closed)),
            "{result:?} at {length}"
        );
    }
    let (result, _) = hears(&side(1), 2, Role::Dialler, &from_b).await;
    assert!(result.is_ok());
}
