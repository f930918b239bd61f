//! One question to an endpoint, without a client.

use super::other;
use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(5);

/// Asks for this operation and gives the answer's HTTP status. Only `http://`.
pub(super) fn status(endpoint: &str, operation: &str) -> io::Result<u16> {
    let authority = authority(endpoint)?;
    let with_port = if authority.contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut refused = other(format!("`{authority}` is no address"));
    for address in with_port.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => return ask(&stream, authority, operation),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// `host:port` of an `http://` endpoint.
fn authority(endpoint: &str) -> io::Result<&str> {
    let rest = endpoint.strip_prefix("http://");
    let authority = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    authority
        .filter(|authority| !authority.is_empty())
        .ok_or_else(|| other(format!("`{endpoint}` is no `http://HOST:PORT`")))
}

fn ask(mut stream: &TcpStream, authority: &str, operation: &str) -> io::Result<u16> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    // DynamoDB Local wants a signature, of whatever content.
    let request = format!(
        "POST / HTTP/1.1\r\n\
         Host: {authority}\r\n\
         Connection: close\r\n\
         Content-Type: application/x-amz-json-1.0\r\n\
         X-Amz-Target: {operation}\r\n\
         X-Amz-Date: 20260101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host, Signature=0\r\n\
         Content-Length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    line.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| other(format!("no HTTP answer: `{}`", line.trim_end())))
}
