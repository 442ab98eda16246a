//! `user.v2.UserService`.

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};

use super::users::{Mask, Users};
use super::validate;
use crate::domain::user::{self, NewUser, UserPatch};
use crate::proto::user::v2::{
    CreateUserRequest, GetUserRequest, ListUsersRequest, ListUsersResponse, UpdateUserRequest, User,
    UserService,
};

/// Message name in ResourceInfo.
const KIND: &str = "user.v2.User";

/// Fields of this version that can be changed.
const FIELDS: &[&str] = &["email", "name", "phone_number", "email_verified", "legacy_field"];

/// Version 2 of the user service.
#[derive(Debug)]
pub(super) struct UsersV2 {
    users: Users,
}

impl UsersV2 {
    pub(super) fn new(users: Users) -> Self {
        Self { users }
    }
}

impl UserService for UsersV2 {
    async fn create_user(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, CreateUserRequest>,
    ) -> ServiceResult<User> {
        validate::check(request.view())?;
        let new = NewUser {
            email: request.email.to_owned(),
            name: request.name.to_owned(),
            phone_number: request.phone_number.to_owned(),
        };
        Response::ok(to_wire(self.users.create(KIND, &context, new).await?))
    }

    async fn get_user(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, GetUserRequest>,
    ) -> ServiceResult<User> {
        validate::check(request.view())?;
        Response::ok(to_wire(self.users.get(KIND, request.id).await?))
    }

    async fn update_user(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, UpdateUserRequest>,
    ) -> ServiceResult<User> {
        validate::check(request.view())?;
        let request = request.to_owned_message();
        let mask = Mask::read(request.update_mask.as_option(), FIELDS)?;
        let user = request.user.as_option().cloned().unwrap_or_default();
        let patch = UserPatch {
            email: mask.take("email", user.email),
            name: mask.take("name", user.name),
            phone_number: mask.take("phone_number", user.phone_number),
            email_verified: mask.take("email_verified", user.email_verified),
            legacy_field: mask.take("legacy_field", user.legacy_field),
            id: user.id,
        };
        Response::ok(to_wire(self.users.update(KIND, patch).await?))
    }

    async fn list_users(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ListUsersRequest>,
    ) -> ServiceResult<ListUsersResponse> {
        validate::check(request.view())?;
        let page = self.users.list(request.page_size, request.page_token, request.filter).await?;
        Response::ok(ListUsersResponse {
            users: page.users.into_iter().map(to_wire).collect(),
            next_page_token: page.next,
            total_size: page.total,
            ..Default::default()
        })
    }
}

fn to_wire(user: user::User) -> User {
    User {
        id: user.id,
        email: user.email,
        name: user.name,
        phone_number: user.phone_number,
        email_verified: user.email_verified,
        legacy_field: user.legacy_field,
        ..Default::default()
    }
}
