CREATE TABLE alembic_version (version_num varchar(32));
INSERT INTO alembic_version VALUES ('a');
