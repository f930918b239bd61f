//! A token of AWS IAM: the URL of a request that nobody sends, signed.

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_http_client::tls;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rdkafka::client::OAuthToken;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a token is good for: the most that brokers take. librdkafka asks for the next one at 80 % of
/// it.
const LIFETIME: Duration = Duration::from_mins(15);

/// How long AWS may take for credentials. Meanwhile nothing is polled.
const WAIT: Duration = Duration::from_secs(10);

/// A token for now, with the credentials that every AWS tool would take.
pub(super) fn made(region: Option<String>) -> Result<OAuthToken, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let loaded = runtime.block_on(async { tokio::time::timeout(WAIT, load(region)).await });
    let (region, credentials) =
        loaded.map_err(|_| format!("AWS gave no credentials within {} s", WAIT.as_secs()))??;
    signed(&region, credentials, SystemTime::now())
}

async fn load(region: Option<String>) -> Result<(String, Credentials), String> {
    let client = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(client);
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    let config = loader.load().await;
    let region = config
        .region()
        .ok_or("the region is not known: the servers' names do not say it; set `AWS_REGION`")?;
    let provider = config
        .credentials_provider()
        .ok_or("there is no provider of credentials")?;
    let credentials = provider.provide_credentials().await;
    let credentials = credentials.map_err(|error| {
        let mut said = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            said.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        format!("no AWS credentials ({said}): give the worker a role, or set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`")
    })?;
    Ok((region.to_string(), credentials))
}

fn signed(region: &str, credentials: Credentials, now: SystemTime) -> Result<OAuthToken, String> {
    let said = |error: &dyn std::fmt::Display| format!("it cannot be signed: {error}");
    let expires = { credentials.expiry() }.map_or(now + LIFETIME, |end| end.min(now + LIFETIME));
    let principal = credentials.access_key_id().to_owned();
    let url = format!("https://kafka.{region}.amazonaws.com/?Action=kafka-cluster%3AConnect");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("kafka-cluster")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| said(&error))?;
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|error| said(&error))?;
    let signed = sign(request, &params.into()).map_err(|error| said(&error))?;
    let mut request = http::Request::get(&url)
        .body(())
        .map_err(|error| said(&error))?;
    let (instructions, _) = signed.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    // Brokers log it; it is no part of what is signed.
    let url = format!("{}&User-Agent=lanekeeper", request.uri());
    let lifetime = expires
        .duration_since(UNIX_EPOCH)
        .map_err(|error| said(&error))?;
    Ok(OAuthToken {
        token: BASE64_URL_SAFE_NO_PAD.encode(url),
        principal_name: principal,
        lifetime_ms: i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(token: &OAuthToken) -> String {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&token.token).expect("base64");
        String::from_utf8(bytes).expect("text")
    }

    /// The signature was computed apart, by the published steps of Signature Version 4.
    #[test]
    fn a_token_is_the_signed_url_that_brokers_check() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let credentials = Credentials::new("AKIDEXAMPLE", secret, None, None, "test");
        let token = signed("eu-central-1", credentials, now).expect("signed");
        let url = url(&token);
        assert!(!url.contains(secret));
        for part in [
            "https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect&",
            "X-Amz-Credential=AKIDEXAMPLE%2F20231114%2Feu-central-1%2Fkafka-cluster%2Faws4_request",
            "X-Amz-Date=20231114T221320Z",
            "X-Amz-Expires=900",
            "X-Amz-SignedHeaders=host",
            "X-Amz-Signature=14ddbfb3509467d7fb015413260f629542ff80c468c87d490ec7ced88c6419a1",
        ] {
            assert!(url.contains(part), "{part}: {url}");
        }
        assert!(url.ends_with("&User-Agent=lanekeeper"), "{url}");
        assert_eq!(token.lifetime_ms, 1_700_000_900_000);
        assert_eq!(token.principal_name, "AKIDEXAMPLE");
    }

    #[test]
    fn a_token_of_a_session_ends_with_it() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let end = now + Duration::from_secs(60);
        let session = Some("a+b/c=".to_owned());
        let credentials = Credentials::new("AKID", "secret", session, Some(end), "test");
        let token = signed("us-east-1", credentials, now).expect("signed");
        assert_eq!(token.lifetime_ms, 1_700_000_060_000);
        assert!(url(&token).contains("X-Amz-Security-Token=a%2Bb%2Fc%3D"));
    }
}
