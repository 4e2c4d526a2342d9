//! The secret that the nodes of one mesh share.

use std::fmt;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};

use super::layers::Origin;
use super::reader::Reader;
use super::settings::MESH_KEY_VARIABLE;
use super::{HostPort, value};

/// 32 secret bytes. Its `Debug` form hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct MeshKey([u8; 32]);

impl MeshKey {
    /// A new one, from the system's random source.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// From 64 hex digits, or base64 of 32 bytes; white space around it does not count.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = if text.len() == 64 {
            from_hex(text)
        } else {
            let padded = BASE64_STANDARD.decode(text);
            padded.or_else(|_| BASE64_STANDARD_NO_PAD.decode(text)).ok()
        };
        bytes?.try_into().ok().map(Self)
    }

    /// The secret bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hex digits: what `chinwag key` prints.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey(secret)")
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16));
    let digits: Vec<u32> = digits.collect::<Option<_>>()?;
    let bytes = digits.chunks_exact(2);
    bytes
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok())
        .collect()
}

/// From the file or the environment: a flag beats the environment, which beats the file.
pub(super) fn read(reader: &mut Reader, mesh_listen: Option<&HostPort>) -> Option<MeshKey> {
    let variable = reader.mesh_key();
    let file = reader.optional("mesh-key-file", value::path);
    let file_wins = match reader.origin("mesh-key-file") {
        Origin::Flag => true,
        Origin::Environment => {
            if variable.is_some() {
                reader.mistake(
                    MESH_KEY_VARIABLE,
                    "CHINWAG_MESH_KEY_FILE is set too",
                    "one of the two",
                );
            }
            true
        }
        Origin::File(_) | Origin::Default => variable.is_none(),
    };
    let (place, text) = match (file.filter(|_| file_wins), variable) {
        (Some(path), _) => {
            let place = reader.place("mesh-key-file");
            match std::fs::read_to_string(&path) {
                Ok(text) => (place, text),
                Err(error) => {
                    let what = format!("{} cannot be read: {error}", path.display());
                    reader.mistake(place, what, "a file with a key, as chinwag key prints it");
                    return None;
                }
            }
        }
        (None, Some(text)) => (MESH_KEY_VARIABLE.to_owned(), text),
        (None, None) => {
            refuse_unguarded(reader, mesh_listen);
            return None;
        }
    };
    let key = MeshKey::parse(&text);
    if key.is_none() {
        // The text is not quoted: it may be a key with a slip in it.
        reader.mistake(
            place,
            format!("is no key ({} characters)", text.trim().chars().count()),
            "32 bytes as 64 hex digits or base64, as chinwag key prints them",
        );
    }
    key
}

fn refuse_unguarded(reader: &mut Reader, mesh_listen: Option<&HostPort>) {
    let Some(listen) = mesh_listen.filter(|listen| !listen.is_loopback()) else {
        return;
    };
    reader.mistake(
        reader.place("mesh-listen"),
        format!("{listen} can be reached from other machines, and there is no mesh key"),
        "--mesh-key-file FILE or CHINWAG_MESH_KEY (chinwag key prints a new key, the same for all \
         nodes of the mesh), or an address of this machine alone such as 127.0.0.1:8090",
    );
}
