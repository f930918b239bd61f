//! Where a worker shows what it does, for as long as it lives.

#[cfg(feature = "metrics")]
use super::MachineClock;
use super::{RunError, RunOptions};
use crate::{config::Config, processor::Processor};
#[cfg(feature = "metrics")]
use crate::{metrics::Server, processor::Watch};
#[cfg(feature = "metrics")]
use std::sync::Arc;

/// `metrics.listen`, where that is set and built.
#[derive(Default)]
pub(super) struct Pages {
    #[cfg(feature = "metrics")]
    #[cfg_attr(not(test), expect(dead_code, reason = "it serves until it is dropped"))]
    server: Option<Server>,
}

impl Pages {
    /// Listens, and has the loop show what it does. A recovery shows nothing: it ends by itself, and a
    /// worker beside it may have the address.
    #[cfg(feature = "metrics")]
    pub(super) fn open(
        config: &Config,
        options: &RunOptions,
        processor: Processor,
    ) -> Result<(Self, Processor), RunError> {
        let (Some(listen), None) = (config.metrics, &options.recover) else {
            return Ok((Self::default(), processor));
        };
        let watch = Arc::new(Watch::new(Arc::new(MachineClock), config.cap));
        let server = Server::start(listen, Arc::clone(&watch))
            .map_err(|error| RunError::Listen { listen, error })?;
        let address = server.address();
        tracing::info!(%address, "serving /metrics, /healthz and /readyz");
        let pages = Self {
            server: Some(server),
        };
        Ok((pages, processor.watched_by(watch)))
    }

    /// A checked configuration asks for none.
    #[cfg(not(feature = "metrics"))]
    pub(super) fn open(
        _: &Config,
        _: &RunOptions,
        processor: Processor,
    ) -> Result<(Self, Processor), RunError> {
        Ok((Self::default(), processor))
    }
}

#[cfg(test)]
#[cfg(feature = "metrics")]
mod tests {
    use crate::{
        Config, Done, Failure, Record, RunOptions, SourceConfig, each,
        handler::Rust,
        processor::{Outcome, Stop},
        run::Worker,
        source::local::put::{BadLines, KeyFrom, Options, put},
    };
    use std::{
        io::{Cursor, Read, Write},
        net::{SocketAddr, TcpStream},
        ops::ControlFlow,
        path::Path,
        sync::{Arc, Mutex, mpsc},
        thread,
        time::{Duration, Instant},
    };
    use tokio::sync::mpsc::unbounded_channel;

    /// Nothing here takes longer.
    const PATIENCE: Duration = Duration::from_secs(120);

    fn one_line(path: &Path) {
        let options = Options {
            path: path.to_owned(),
            topic: "a".to_owned(),
            key: Some(KeyFrom::Field("k".to_owned())),
            no_key: false,
            partitions: Some(1),
            from_line: 1,
            bad_lines: BadLines::Fail,
        };
        let line = Cursor::new("{\"k\":1}\n");
        put(&options, line, &mut |_| ControlFlow::Continue(())).expect("put");
    }

    fn until(address: SocketAddr, path: &str, status: &str, says: &str) {
        let end = Instant::now() + PATIENCE;
        let mut answer = String::new();
        while !(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(says)) {
            assert!(Instant::now() < end, "{path}: {status} {says}: {answer}");
            thread::sleep(Duration::from_millis(50));
            let mut stream = TcpStream::connect(address).expect("connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
            let request = format!("GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("request");
            answer.clear();
            stream.read_to_string(&mut answer).expect("answer");
        }
    }

    #[tokio::test]
    async fn a_handler_that_blocks_the_loop_is_told_of_while_it_does() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log.db");
        one_line(&path);
        let mut config = Config::new("test", 2).source(SourceConfig::local("a", &path, "a"));
        config.metrics = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let (go_on, told) = mpsc::channel();
        let told = Mutex::new(told);
        let handler = each(move |_: Record| {
            // Here, in the loop's thread, and not in the future.
            let blocked = told.lock().map(|told| told.recv());
            assert!(blocked.is_ok());
            async { Ok::<_, Failure>(Done) }
        });
        let target = Arc::new(Rust(handler));
        let worker = Worker::open(&config, target, &RunOptions::default()).expect("open");
        let address = worker.pages.server.as_ref().expect("it serves").address();
        let (stop, stops) = unbounded_channel();
        let observer = thread::spawn(move || {
            until(address, "/healthz", "503", "the loop has not turned for");
            until(address, "/readyz", "503", "the loop has not turned for");
            until(
                address,
                "/metrics",
                "200",
                "lanekeeper_loop_silence_seconds 1",
            );
            go_on.send(()).expect("it waits");
            until(address, "/healthz", "200", "ok");
            until(address, "/readyz", "200", "partitions: 1");
            let done = "lanekeeper_records_total{source=\"a\",outcome=\"done\"} 1\n";
            until(address, "/metrics", "200", done);
            stop.send(Stop::Drain).expect("it runs");
        });
        let (report, outcome) = worker.drive(stops).await;
        observer.join().expect("all of it came");
        assert!(matches!(outcome, Outcome::Drained), "{outcome:?}");
        assert_eq!((report.done, report.tries), (1, 1));
        assert!(
            TcpStream::connect(address).is_err(),
            "nothing listens any more"
        );
    }
}
