//! Generated code that the tests share. The tests themselves are in the folders beside `src`.

/// The descriptors of `shop.v1`, as a server takes them.
pub const SHOP_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shop.bin"));

/// `shop.v1` and the reference services as tonic and prost generate them.
#[allow(missing_docs, missing_debug_implementations, clippy::all, clippy::pedantic)]
pub mod tonic_gen {
    pub mod shop {
        include!(concat!(env!("OUT_DIR"), "/tonic/shop.v1.rs"));
    }
    pub mod ecommerce {
        include!(concat!(env!("OUT_DIR"), "/reference/ecommerce.v1.rs"));
    }
    pub mod greeter {
        include!(concat!(env!("OUT_DIR"), "/reference/greeter.rs"));
    }
    pub mod user_v1 {
        include!(concat!(env!("OUT_DIR"), "/reference/user.v1.rs"));
    }
    pub mod user_v2 {
        include!(concat!(env!("OUT_DIR"), "/reference/user.v2.rs"));
    }
}

/// `shop.v1` as connectrpc and buffa generate it.
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all, clippy::pedantic)]
#[allow(elided_lifetimes_in_paths, let_underscore_drop, unused_qualifications)]
pub mod connect_gen {
    include!(concat!(env!("OUT_DIR"), "/shop_connect.rs"));
}
