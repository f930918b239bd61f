//! Signatures as in Standard Webhooks (version 1, HMAC-SHA256).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;

/// What both sides know. Debug output does not show it.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// A secret that cannot be used. The message does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// It is empty.
    #[error("`handler.secret` is empty: the variable or file that it comes from holds nothing")]
    Empty,
    /// What follows `whsec_` is no base64.
    #[error("`handler.secret` starts with `whsec_`, but what follows is not base64")]
    NotBase64,
}

impl Secret {
    /// A secret as it is handed out: `whsec_` and base64, or else its bytes as they are. White space
    /// around it, such as the last line end of a file, is no part of it.
    ///
    /// # Errors
    /// When it is empty, or not base64 after `whsec_`.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let bytes = match text.strip_prefix("whsec_") {
            Some(coded) => STANDARD.decode(coded).map_err(|_| SecretError::NotBase64)?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.is_empty() {
            return Err(SecretError::Empty);
        }
        // HMAC takes keys of any length.
        let mac = Hmac::new_from_slice(&bytes).map_err(|_| SecretError::Empty)?;
        Ok(Self(mac))
    }

    /// The `webhook-signature` of a message; `timestamp` in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(id.as_bytes());
        mac.update(format!(".{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_is_signed_alike() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("a secret");
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn raw_secrets_are_taken_as_they_are() {
        let coded = format!("whsec_{}", STANDARD.encode("pass phrase"));
        let sign = |text: &str| Secret::new(text).map(|secret| secret.sign("id", 1, b"body"));
        assert_eq!(sign("pass phrase"), sign(&coded));
        assert_eq!(sign(""), Err(SecretError::Empty));
        assert_eq!(sign("whsec_"), Err(SecretError::Empty));
        assert_eq!(sign("whsec_ä"), Err(SecretError::NotBase64));
    }
}
