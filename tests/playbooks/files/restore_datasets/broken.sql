CREATE TABLE alembic_version (version_num varchar(32)) COLLATE utf8mb4_0900_ai_ci;
INSERT INTO alembic_version VALUES ('a');
