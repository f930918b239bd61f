//! A server that stands between the binary and a DynamoDB, or for one: it hears each request, and
//! answers it itself or hands it on.

use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// Status, body, and the `Date` where it is not today's.
pub(super) type Answer = (u16, Value, Option<String>);

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request: the operation's name and its body.
pub(super) struct Request {
    pub(super) operation: String,
    pub(super) body: Value,
    text: String,
    headers: Vec<String>,
}

/// It ends with its process: threads wait for connections that do not come.
pub(super) struct Server {
    pub(super) endpoint: String,
    actions: Arc<Mutex<BTreeSet<String>>>,
}

impl Server {
    /// Answers by itself.
    pub(super) fn fake(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(move |request| {
            let (status, body, date) = answer(request);
            let body = body.to_string();
            let date = date.map_or_else(String::new, |date| format!("Date: {date}\r\n"));
            Ok(format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.0\r\n{date}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .into_bytes())
        })
    }

    /// Hands everything on.
    pub(super) fn between(upstream: &str) -> Self {
        let address = upstream.trim_start_matches("http://").trim_end_matches('/');
        let address = address.to_owned();
        Self::start(move |request| request.hand_on(&address))
    }

    fn start(answer: impl Fn(&Request) -> io::Result<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let actions: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (answer, heard) = (Arc::new(answer), Arc::clone(&actions));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                thread::spawn(move || {
                    // A client that goes away, as a killed one does, needs no answer.
                    let _ = serve(stream, &*answer, &heard);
                });
            }
        });
        Self { endpoint, actions }
    }

    /// The IAM actions that were asked for so far.
    pub(super) fn actions(&self) -> BTreeSet<String> {
        self.actions.lock().expect("actions").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &(dyn Fn(&Request) -> io::Result<Vec<u8>> + Send + Sync),
    heard: &Mutex<BTreeSet<String>>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = Request::read(&stream)?;
    heard.lock().expect("actions").extend(request.actions());
    stream.write_all(&answer(&request)?)
}

impl Request {
    fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            headers.push(line);
        }
        let header = |name: &str| {
            let mut all = headers.iter().filter_map(|line| line.split_once(':'));
            let found = all.find(|(n, _)| n.eq_ignore_ascii_case(name));
            found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let text = String::from_utf8(body).map_err(io::Error::other)?;
        let target = header("x-amz-target");
        Ok(Self {
            operation: target.rsplit('.').next().unwrap_or_default().to_owned(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
            headers,
        })
    }

    /// What IAM asks for: a transaction is no action, each of its items is one.
    pub(super) fn actions(&self) -> Vec<String> {
        if self.operation != "TransactWriteItems" {
            return vec![format!("dynamodb:{}", self.operation)];
        }
        let items = self.body["TransactItems"].as_array().into_iter().flatten();
        let kinds = items.filter_map(|item| item.as_object()?.keys().next());
        kinds
            .map(|kind| match kind.as_str() {
                "ConditionCheck" => "dynamodb:ConditionCheckItem".to_owned(),
                kind => format!("dynamodb:{kind}Item"),
            })
            .collect()
    }

    fn hand_on(&self, address: &str) -> io::Result<Vec<u8>> {
        let mut upstream = TcpStream::connect(address)?;
        upstream.set_read_timeout(Some(PATIENCE))?;
        let kept = self.headers.iter().filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            !name.eq_ignore_ascii_case("connection")
        });
        let kept: Vec<&str> = kept.map(String::as_str).collect();
        let head = format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"));
        upstream.write_all(head.as_bytes())?;
        upstream.write_all(self.text.as_bytes())?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// A refusal as DynamoDB words it.
pub(super) fn refusal(code: &str, message: &str) -> Answer {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{code}");
    (400, json!({"__type": kind, "message": message}), None)
}

/// What the table of `lanekeeper store init` answers to what `check` asks.
pub(super) fn sound(request: &Request) -> Answer {
    let never = "The conditional request failed";
    let body = match request.operation.as_str() {
        "DescribeTable" => json!({"Table": {
            "TableName": "t", "TableStatus": "ACTIVE", "DeletionProtectionEnabled": true,
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
        }}),
        "DescribeTimeToLive" => json!({"TimeToLiveDescription": {
            "TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at",
        }}),
        "DescribeContinuousBackups" => json!({"ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED"},
        }}),
        "PutItem" | "UpdateItem" | "DeleteItem" => {
            return refusal("ConditionalCheckFailedException", never);
        }
        "TransactWriteItems" => {
            let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
            let reasons = json!([{"Code": "ConditionalCheckFailed", "Message": never}]);
            let body = json!({"__type": kind, "Message": never, "CancellationReasons": reasons});
            return (400, body, None);
        }
        "Query" => json!({"Items": [], "Count": 0, "ScannedCount": 0}),
        "BatchWriteItem" => json!({"UnprocessedItems": {}}),
        _ => json!({}),
    };
    (200, body, None)
}
