-- What the processes on one database tell each other about themselves: how many answers each holds open for whom.

CREATE TABLE nodes (
  name TEXT PRIMARY KEY,
  until BIGINT NOT NULL,
  held TEXT NOT NULL
);
