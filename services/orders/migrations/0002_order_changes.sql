-- What happened to orders, so that each process can tell its watchers what another one wrote. Only the latest rows are
-- kept; who has fallen behind them reads the orders instead.

CREATE TABLE order_changes (
    -- One more with every change, without gaps, in the order of the commits.
    sequence   BIGINT NOT NULL PRIMARY KEY,
    order_id   TEXT   NOT NULL,
    -- What a change can change. The rest of an order is as it was created.
    version    BIGINT NOT NULL,
    status     TEXT   NOT NULL
        CHECK (status IN ('PENDING', 'CONFIRMED', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
    updated_us BIGINT NOT NULL
);
