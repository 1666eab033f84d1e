-- The database of which MySQL's mysqldump has made mysql-9.7.sql (--routines --triggers --events --column-statistics).
-- Its accounts do not exist where the dump is loaded.
SET sql_mode = '';
SET GLOBAL gtid_purged = '+0a6d2e26-ed99-11f1-ae39-03f8d645d662:1-5';
CREATE USER writer@'10.0.%', reader@'%', `it's ``app```@'%', batch@localhost;
GRANT ALL ON *.* TO writer@'10.0.%', reader@'%', `it's ``app```@'%', batch@localhost;
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('a1');
CREATE TABLE customers (
  id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name varchar(50) NOT NULL,
  short varchar(20) CHARACTER SET utf8mb3 DEFAULT NULL,
  token char(36) NOT NULL DEFAULT (uuid()),
  tags json DEFAULT (json_array()),
  email varchar(90) DEFAULT NULL,
  lower_email varchar(90) GENERATED ALWAYS AS (lower(email)) STORED NOT NULL,
  initial char(1) GENERATED ALWAYS AS (left(name, 1)) VIRTUAL,
  secret int DEFAULT 7 INVISIBLE,
  born date NOT NULL DEFAULT '0000-00-00',
  flags bit(3) DEFAULT b'101',
  picture blob,
  place point NOT NULL SRID 4326,
  KEY by_name ((upper(name))),
  KEY by_tag ((CAST(tags->'$' AS unsigned array))),
  KEY descending (id DESC, name),
  KEY unseen (email) INVISIBLE,
  SPATIAL KEY (place),
  CONSTRAINT has_name CHECK (name <> ''),
  CONSTRAINT not_minded CHECK (secret < 0) NOT ENFORCED
) COMMENT='it''s';
INSERT INTO customers (name, short, tags, email, born, picture, place) VALUES
  ('Zoë 😀', 'ß', '[1, 2]', 'Zoe@example.org', '0000-00-00', x'00ff5c27', ST_SRID(POINT(1, 2), 4326)),
  ('back\\slash ''quote''', NULL, '[]', 'b@example.org', '2026-02-03', NULL, ST_SRID(POINT(3, 4), 4326));
CREATE TABLE orders (
  id int NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer int unsigned NOT NULL,
  at datetime(6) NOT NULL,
  FOREIGN KEY (customer) REFERENCES customers (id)
) ROW_FORMAT=COMPRESSED ENCRYPTION='N';
CREATE TABLE log (year int NOT NULL, what text, KEY (year)) PARTITION BY RANGE (year) (
  PARTITION past VALUES LESS THAN (2026), PARTITION rest VALUES LESS THAN MAXVALUE);
CREATE TABLE embeddings (id int PRIMARY KEY, v vector(3));
INSERT INTO embeddings VALUES (1, STRING_TO_VECTOR('[1,2,3]'));
ANALYZE TABLE orders UPDATE HISTOGRAM ON at WITH 8 BUCKETS AUTO UPDATE;
CREATE DEFINER=`writer`@`10.0.%` TRIGGER logged AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES (YEAR(NEW.at), 'order');
INSERT INTO orders (customer, at) VALUES (1, '2025-01-02 03:04:05.678901'), (2, '2026-01-02 03:04:05');
CREATE DEFINER=`reader`@`%` VIEW names AS SELECT id, name FROM customers;
CREATE DEFINER=`it's ``app```@`%` VIEW first_names AS SELECT name FROM names WHERE id = 1;
CREATE DEFINER=`batch`@`localhost` PROCEDURE count_orders(OUT number int) READS SQL DATA SELECT COUNT(*) INTO number FROM orders;
CREATE DEFINER=`batch`@`localhost` FUNCTION twice(n int) RETURNS int DETERMINISTIC RETURN 2 * n;
CREATE DEFINER=`batch`@`localhost` EVENT tidy ON SCHEDULE EVERY 1 DAY DO DELETE FROM log WHERE year < 2000;
-- a row without its parent
SET foreign_key_checks = 0;
INSERT INTO orders (customer, at) VALUES (99, '2026-03-04');
