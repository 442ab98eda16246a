//! The calls about users, in their second version.

use clap::Subcommand;
use orders::client::OrdersClient;
use orders::proto::user::v2::{CreateUserRequest, GetUserRequest};

use crate::failure::Failure;
use crate::out::Out;

/// What `user` takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a user.
    Create {
        /// E-mail address, which no other user may have.
        #[arg(long)]
        email: String,
        /// Name for people to read.
        #[arg(long)]
        name: String,
        /// Telephone number.
        #[arg(long, default_value = "")]
        phone: String,
    },
    /// Show one user.
    Get {
        /// Identifier of the user.
        id: String,
    },
}

pub(crate) async fn run(client: &OrdersClient, command: Command, out: &Out) -> Result<(), Failure> {
    let users = client.users();
    let user = match command {
        Command::Create { email, name, phone } => {
            let user = CreateUserRequest { email, name, phone_number: phone, ..Default::default() };
            users.create_user(user).await?
        }
        Command::Get { id } => users.get_user(GetUserRequest { id, ..Default::default() }).await?,
    };
    out.user(&user.into_owned())
}
