//! The variants: one service, hosted in several ways.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clap::ValueEnum;
use connectrpc::{
    ConnectError, ConnectRpcService, Encodable, InboundStream, RequestContext, Router, ServiceRequest,
    ServiceResult, ServiceStream,
};
use highball::net::Tasks;
use highball::server::Rates;
use highball::{ListenAddr, Server, Settings};
use highball_tests::SHOP_DESCRIPTORS;
use highball_tests::connect_gen::shop::v1 as shop;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;

use crate::token;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How the service is hosted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Variant {
    /// The service on hyper, as the examples of every framework do it.
    Bare,
    /// Everything: metrics, a log line per RPC, deadline, limits, rates, verified tokens and a policy.
    Full,
    /// Everything but the log line of each RPC.
    Quiet,
    /// Everything but who calls and may they.
    Open,
}

impl Variant {
    /// The one to compare with comes first.
    pub(crate) const ALL: [Self; 4] = [Self::Bare, Self::Full, Self::Quiet, Self::Open];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Full => "full",
            Self::Quiet => "quiet",
            Self::Open => "open",
        }
    }
}

/// Serves until the process is killed.
pub(crate) async fn run(variant: Variant) -> Result<(), Box<dyn Error>> {
    let service = ConnectRpcService::new(Router::new().add_service(Arc::new(Shop)));
    match variant {
        Variant::Bare => bare(service).await,
        Variant::Full => full(service, "info", true).await,
        Variant::Quiet => full(service, "warn", true).await,
        Variant::Open => full(service, "info", false).await,
    }
}

#[expect(clippy::print_stderr, reason = "whoever started this process reads it")]
fn tell(addr: impl std::fmt::Display) {
    eprintln!("{addr}");
}

#[expect(clippy::disallowed_methods, reason = "this is how it is done without the house")]
async fn bare(service: ConnectRpcService) -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind(ANY).await?;
    tell(listener.local_addr()?);
    loop {
        let (io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // How a connection ends is nothing that is measured.
            builder.serve_connection(TokioIo::new(io), service).await.ok();
        });
    }
}

async fn full(service: ConnectRpcService, filter: &str, guarded: bool) -> Result<(), Box<dyn Error>> {
    let _log = highball::telemetry::log::start(filter)?;
    // Counted for every RPC, and never in the way.
    let settings = Settings { rates: Some(Rates::new(1e7, 1_000_000)), ..Settings::default() };
    let mut server = Server::new(service)
        .with_descriptors(SHOP_DESCRIPTORS)
        .with_settings(settings)
        .listen(ListenAddr::Tcp(ANY));
    let tasks = Tasks::new();
    if guarded {
        server = server.with_guard(token::guard(tasks.spawner()).await?);
    }
    let server = server.bind().await?;
    server.addrs().iter().for_each(tell);
    server.run(std::future::pending()).await;
    Ok(())
}

struct Shop;

#[allow(refining_impl_trait)]
impl shop::Shop for Shop {
    async fn get(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, shop::GetRequest>,
    ) -> ServiceResult<shop::Item> {
        connectrpc::Response::ok(shop::Item { id: request.id.to_owned(), cents: 7, ..Default::default() })
    }

    async fn watch(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, shop::GetRequest>,
    ) -> ServiceResult<ServiceStream<shop::Item>> {
        Err(ConnectError::unimplemented("not measured"))
    }

    async fn upload(&self, _: RequestContext, _: InboundStream<shop::Item>) -> ServiceResult<shop::Item> {
        Err(ConnectError::unimplemented("not measured"))
    }

    async fn chat(
        &self,
        _: RequestContext,
        items: InboundStream<shop::Item>,
    ) -> ServiceResult<ServiceStream<impl Encodable<shop::Item> + Send + use<>>> {
        connectrpc::Response::stream_ok(items)
    }
}
