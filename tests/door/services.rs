//! `shop.v1.Shop` written twice: against tonic, and against connectrpc.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use connectrpc::{
    ConnectError, ConnectRpcService, Encodable, ErrorDetail, InboundStream, RequestContext, Router,
    ServiceRequest, ServiceResult, ServiceStream,
};
use futures_util::{Stream, StreamExt as _};
use highball_tests::connect_gen::shop::v1 as connect;
use highball_tests::tonic_gen::shop::shop_server::{Shop, ShopServer};
use highball_tests::tonic_gen::shop::{GetRequest, Item};
use tonic_types::{ErrorDetails, StatusExt as _};

const SLOW: Duration = Duration::from_secs(60);

struct TonicShop;

pub(crate) fn tonic_routes() -> tonic::service::Routes {
    tonic::service::Routes::new(ShopServer::new(TonicShop)).prepare()
}

type Items = Pin<Box<dyn Stream<Item = Result<Item, tonic::Status>> + Send>>;

#[tonic::async_trait]
impl Shop for TonicShop {
    async fn get(&self, request: tonic::Request<GetRequest>) -> Result<tonic::Response<Item>, tonic::Status> {
        let id = request.into_inner().id;
        match id.as_str() {
            "missing" => {
                let details = ErrorDetails::with_resource_info("item", "missing", "", "");
                Err(tonic::Status::with_error_details(tonic::Code::NotFound, "no such item", details))
            }
            "slow" => {
                tokio::time::sleep(SLOW).await;
                Err(tonic::Status::internal("too late"))
            }
            "panic" => panic!("secret detail"),
            _ => Ok(tonic::Response::new(Item { id, cents: 7 })),
        }
    }

    type WatchStream = Items;

    async fn watch(
        &self,
        request: tonic::Request<GetRequest>,
    ) -> Result<tonic::Response<Items>, tonic::Status> {
        let id = request.into_inner().id;
        let items = futures_util::stream::iter(0..3).map(move |cents| Ok(Item { id: id.clone(), cents }));
        Ok(tonic::Response::new(items.boxed()))
    }

    async fn upload(
        &self,
        request: tonic::Request<tonic::Streaming<Item>>,
    ) -> Result<tonic::Response<Item>, tonic::Status> {
        let (mut items, mut cents) = (request.into_inner(), 0);
        while let Some(item) = items.message().await? {
            cents += item.cents;
        }
        Ok(tonic::Response::new(Item { id: "total".to_owned(), cents }))
    }

    type ChatStream = Items;

    async fn chat(
        &self,
        request: tonic::Request<tonic::Streaming<Item>>,
    ) -> Result<tonic::Response<Items>, tonic::Status> {
        Ok(tonic::Response::new(request.into_inner().boxed()))
    }
}

struct ConnectShop;

pub(crate) fn connect_service() -> ConnectRpcService {
    ConnectRpcService::new(Router::new().add_service(Arc::new(ConnectShop)))
}

#[allow(refining_impl_trait)]
impl connect::Shop for ConnectShop {
    async fn get(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, connect::GetRequest>,
    ) -> ServiceResult<connect::Item> {
        match request.id {
            "missing" => {
                let detail = ErrorDetail {
                    type_url: "type.googleapis.com/google.rpc.ResourceInfo".to_owned(),
                    // resource_type "item", resource_name "missing"
                    value: Some("CgRpdGVtEgdtaXNzaW5n".to_owned()),
                    debug: None,
                };
                Err(ConnectError::not_found("no such item").with_detail(detail))
            }
            "slow" => {
                tokio::time::sleep(SLOW).await;
                Err(ConnectError::internal("too late"))
            }
            "panic" => panic!("secret detail"),
            id => {
                connectrpc::Response::ok(connect::Item { id: id.to_owned(), cents: 7, ..Default::default() })
            }
        }
    }

    async fn watch(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, connect::GetRequest>,
    ) -> ServiceResult<ServiceStream<connect::Item>> {
        let id = request.id.to_owned();
        let items = futures_util::stream::iter(0..3)
            .map(move |cents| Ok(connect::Item { id: id.clone(), cents, ..Default::default() }));
        connectrpc::Response::stream_ok(items)
    }

    async fn upload(
        &self,
        _: RequestContext,
        mut items: InboundStream<connect::Item>,
    ) -> ServiceResult<connect::Item> {
        let mut cents = 0;
        while let Some(item) = items.next().await {
            cents += item?.cents();
        }
        connectrpc::Response::ok(connect::Item { id: "total".to_owned(), cents, ..Default::default() })
    }

    async fn chat(
        &self,
        _: RequestContext,
        items: InboundStream<connect::Item>,
    ) -> ServiceResult<ServiceStream<impl Encodable<connect::Item> + Send + use<>>> {
        connectrpc::Response::stream_ok(items)
    }
}
