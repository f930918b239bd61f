//! The program of an application whose handler is in Rust: one `main` for the function that is deployed, the
//! worker, and the tools of whoever operates them.

#[cfg(feature = "lambda")]
use crate::lambda::{Aggregate, Aggregated, WindowState};
use crate::{
    config::Config,
    handler::{Handler, Rust, Target},
    run::TargetError,
};
use futures_util::future::{LocalBoxFuture, ready};
use std::{fmt::Display, process::ExitCode, rc::Rc, sync::Arc};

/// A program with a handler of its own.
///
/// ```no_run
/// use lanekeeper::{Done, Failure, Program, Record, each};
///
/// async fn bill(record: Record) -> Result<Done, Failure> {
///     println!("{}", record.id());
///     Ok(Done)
/// }
///
/// fn main() -> std::process::ExitCode {
///     Program::new(each(bill)).main()
/// }
/// ```
///
/// What it can do depends on what it is built with. With the feature `cli` it is the command line
/// `lanekeeper` whose `run`, `recover`, `replay` and `check` have this handler, so that what a deployment
/// has left open runs by the very code that would have run it. With `lambda` it serves invocations where
/// Lambda starts it: with `cli` beside it, where `AWS_LAMBDA_RUNTIME_API` is set and no argument is given;
/// without, always. So one source makes both: the artefact that is deployed, which is small, and the tool.
///
/// It reads its configuration where the command line does (`LANEKEEPER_CONFIG`, else `lanekeeper.toml`, and
/// variables; a command also `--config`). `handler.type` has to be absent from it; `handler.records_per_call`
/// counts.
///
/// It logs to stderr, as JSON where it serves invocations, else as `LANEKEEPER_LOG_FORMAT` says; what is
/// logged is for `LANEKEEPER_LOG` to say, by default all from `info` on, and of the crates below only
/// warnings. A subscriber of `tracing` that is set before [`Program::main`] is called stays.
#[derive(Clone)]
pub struct Program {
    start: Rc<dyn Fn() -> Starting>,
    #[cfg(feature = "lambda")]
    aggregate: Option<Arc<dyn WindowState>>,
    name: Option<(&'static str, &'static str)>,
}

type Starting = LocalBoxFuture<'static, Result<Arc<dyn Target>, String>>;

impl Program {
    /// With a handler that is there.
    pub fn new(handler: impl Handler) -> Self {
        let target: Arc<dyn Target> = Arc::new(Rust(handler));
        Self::of(move || Box::pin(ready(Ok(Arc::clone(&target)))))
    }

    /// With a handler that has to be started, as one that connects to something first. It is started within
    /// the runtime where it will be called, and by `check`, which looks whether it can be; not for commands
    /// that call no handler. An error ends the command: it says why. How long it may take is its own affair.
    ///
    /// ```no_run
    /// # use lanekeeper::{Done, Failure, Program, Record, each_with};
    /// # use std::sync::Arc;
    /// struct Bank(tokio::net::UdpSocket);
    ///
    /// async fn pay(bank: Arc<Bank>, record: Record) -> Result<Done, Failure> {
    ///     let text = record.value().unwrap_or_default();
    ///     bank.0.send(text).await.map_err(Failure::target)?;
    ///     Ok(Done)
    /// }
    ///
    /// fn main() -> std::process::ExitCode {
    ///     Program::starting(async || {
    ///         let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
    ///         socket.connect("127.0.0.1:9").await?;
    ///         Ok::<_, std::io::Error>(each_with(Bank(socket), pay))
    ///     })
    ///     .main()
    /// }
    /// ```
    pub fn starting<H: Handler, E: Display>(
        start: impl AsyncFn() -> Result<H, E> + 'static,
    ) -> Self {
        let start = Rc::new(start);
        Self::of(move || {
            let start = Rc::clone(&start);
            Box::pin(async move {
                match start().await {
                    Ok(handler) => Ok(Arc::new(Rust(handler)) as Arc<dyn Target>),
                    Err(error) => Err(error.to_string()),
                }
            })
        })
    }

    fn of(start: impl Fn() -> Starting + 'static) -> Self {
        Self {
            start: Rc::new(start),
            #[cfg(feature = "lambda")]
            aggregate: None,
            name: None,
        }
    }

    /// As what `--version` shows it, such as `"billing"` and `env!("CARGO_PKG_VERSION")`, and for which program
    /// `completions` are made: who replays should see with which handler. Without it, that is `lanekeeper`
    /// and its version.
    pub fn named(mut self, name: &'static str, version: &'static str) -> Self {
        self.name = Some((name, version));
        self
    }

    /// With what tumbling windows come to, where it serves invocations
    /// ([`lambda::aggregate`](crate::lambda::aggregate)). `recover` and `replay` fold nothing: the mapping
    /// has the window's state.
    #[cfg(feature = "lambda")]
    pub fn windowed(mut self, aggregate: impl Aggregate) -> Self {
        self.aggregate = Some(Arc::new(Aggregated(aggregate)));
        self
    }

    /// Does what the arguments of this process say, or serves the Lambda runtime; gives the exit code.
    pub fn main(self) -> ExitCode {
        #[cfg(feature = "cli")]
        {
            crate::cli::with(Some(self))
        }
        #[cfg(not(feature = "cli"))]
        {
            crate::lambda::serve_here(Some(&self))
        }
    }

    /// What it logs unless somebody says otherwise: its own crate's name is not known here.
    pub(crate) const LOGS: &str = "info,aws_config=warn,aws_credential_types=warn,aws_runtime=warn,aws_smithy_runtime=warn,hyper=warn,hyper_util=warn,lambda_runtime=warn,rdkafka=warn,rustls=warn";

    /// Its name and version, where it has its own.
    #[cfg(feature = "cli")]
    pub(crate) fn name(&self) -> Option<(&'static str, &'static str)> {
        self.name
    }

    /// Its handler, started.
    pub(crate) async fn target(&self, config: &Config) -> Result<Arc<dyn Target>, TargetError> {
        if config.handler.kind.is_some() {
            return Err(TargetError::Two);
        }
        (self.start)().await.map_err(TargetError::Start)
    }

    #[cfg(feature = "lambda")]
    pub(crate) fn aggregate(&self) -> Option<Arc<dyn WindowState>> {
        self.aggregate.clone()
    }
}
