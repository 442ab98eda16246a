//! `user.v1.UserService`.

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};

use super::users::{Mask, Users};
use super::validate;
use crate::domain::user::{self, NewUser, UserPatch};
use crate::proto::user::v1::{
    CreateUserRequest, GetUserRequest, ListUsersRequest, ListUsersResponse, UpdateUserRequest, User,
    UserService,
};

/// Message name in ResourceInfo.
const KIND: &str = "user.v1.User";

/// Fields of this version that can be changed.
const FIELDS: &[&str] = &["email", "name"];

/// Version 1 of the user service.
#[derive(Debug)]
pub(super) struct UsersV1 {
    users: Users,
}

impl UsersV1 {
    pub(super) fn new(users: Users) -> Self {
        Self { users }
    }
}

impl UserService for UsersV1 {
    async fn create_user(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, CreateUserRequest>,
    ) -> ServiceResult<User> {
        validate::check(request.view())?;
        let new = NewUser {
            email: request.email.to_owned(),
            name: request.name.to_owned(),
            phone_number: String::new(),
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
            id: user.id,
            // Fields of version 2 stay as they are.
            ..UserPatch::default()
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
    User { id: user.id, email: user.email, name: user.name, ..Default::default() }
}
