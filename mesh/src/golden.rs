//! What the tests of all layers check of bytes that are pinned.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Each message has these bytes, written in hexadecimal with spaces anywhere, and they give it back;
/// cut anywhere they are no message.
pub(crate) fn assert_pinned<M>(messages: impl IntoIterator<Item = (M, impl AsRef<str>)>)
where
    M: Debug + PartialEq + Serialize + DeserializeOwned,
{
    for (message, golden) in messages {
        let bytes = postcard::to_stdvec(&message).expect("messages can be encoded");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.as_ref().replace(' ', ""), "{message:?}");
        for end in 0..bytes.len() {
            assert!(
                postcard::from_bytes::<M>(&bytes[..end]).is_err(),
                "{message:?}"
            );
        }
        assert_eq!(postcard::from_bytes(&bytes), Ok(message));
    }
}
