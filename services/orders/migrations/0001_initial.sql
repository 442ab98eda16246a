-- Only what SQLite and PostgreSQL both understand. Times are microseconds since 1970 UTC, amounts are exact
-- decimals in text, identifiers are UUIDs of version 7 in text, so that the order of identifiers is the order
-- of creation.

CREATE TABLE orders (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL,
    total      TEXT   NOT NULL,
    status     TEXT   NOT NULL
        CHECK (status IN ('PENDING', 'CONFIRMED', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
    -- 1 at creation, one more with every change; watchers tell old from new by it.
    version    BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL
);

CREATE INDEX orders_by_user ON orders (user_id, id);

CREATE TABLE order_items (
    order_id   TEXT   NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    position   BIGINT NOT NULL,
    product_id TEXT   NOT NULL,
    quantity   BIGINT NOT NULL CHECK (quantity > 0),
    price      TEXT   NOT NULL,
    PRIMARY KEY (order_id, position)
);

CREATE TABLE users (
    id             TEXT    NOT NULL PRIMARY KEY,
    email          TEXT    NOT NULL,
    -- The address in lower case: addresses that differ only in letter case are one user.
    email_key      TEXT    NOT NULL UNIQUE,
    name           TEXT    NOT NULL,
    role           TEXT    NOT NULL CHECK (role IN ('CUSTOMER', 'ADMIN')),
    phone_number   TEXT    NOT NULL,
    email_verified BOOLEAN NOT NULL,
    legacy_field   TEXT    NOT NULL,
    created_us     BIGINT  NOT NULL,
    updated_us     BIGINT  NOT NULL
);

-- Which request made which row. A key lives as long as the row it made.
CREATE TABLE request_keys (
    method      TEXT   NOT NULL,
    scope       TEXT   NOT NULL,
    request_key TEXT   NOT NULL,
    -- SHA-256 of the request, in hexadecimal: another request under the same key is refused.
    fingerprint TEXT   NOT NULL,
    resource_id TEXT   NOT NULL,
    created_us  BIGINT NOT NULL,
    PRIMARY KEY (method, scope, request_key)
);

-- Secrets and marks of this database, each value in hexadecimal or plain text.
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
