# SPDX-License-Identifier: Apache-2.0
"""The same small database as each program writes it."""

TABLES = """DROP TABLE IF EXISTS `customers`;
CREATE TABLE `customers` (
  `id` int NOT NULL AUTO_INCREMENT,
  `email` varchar(90) DEFAULT 'a;b',
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;
"""
ROWS = """INSERT INTO `customers` VALUES
(1,'alice@example.org'),
(2,'it''s; -- Dump completed\\n\\'/*'),
(3,'carol@example.org');
"""
OTHER = """CREATE TABLE `orders` (`id` int NOT NULL PRIMARY KEY, `customer` int);
INSERT INTO `orders` VALUES (1,1),(2,3);
"""
BODY = TABLES + ROWS + OTHER
_SAVE = """/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET NAMES utf8mb4 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;
"""
_GIVE_BACK = """/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;
"""
_LOCKED = (
    TABLES
    + "LOCK TABLES `customers` WRITE;\n/*!40000 ALTER TABLE `customers` DISABLE KEYS */;\n"
    + ROWS
    + "/*!40000 ALTER TABLE `customers` ENABLE KEYS */;\nUNLOCK TABLES;\n"
    + OTHER
)
_TRIGGER = """DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `up` BEFORE UPDATE ON `customers` FOR EACH ROW
BEGIN
  -- it's a comment; not an end
  SET NEW.email = UPPER(NEW.email);
END */;;
DELIMITER ;
"""

MYSQLDUMP = (
    "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n-- Host: localhost    Database: shop\n"
    f"-- ------------------------------------------------------\n{_SAVE}\n"
    "--\n-- Table structure for table `customers`\n--\n\n"
    f"{_LOCKED}{_TRIGGER}{_GIVE_BACK}\n-- Dump completed on 2026-03-01 10:00:00\n"
)
MARIADB_DUMP = "/*M!999999\\- enable the sandbox mode */ \n" + MYSQLDUMP.replace(
    "MySQL dump 10.13", "MariaDB dump 10.19"
)
SKIP_COMMENTS = _SAVE + _LOCKED + _TRIGGER + _GIVE_BACK
COMPACT = BODY
MYSQLPUMP = (
    "-- Dump created by MySQL pump utility, version: 8.0.30, Linux (x86_64)\n"
    "-- Dump start time: Sun Mar  1 10:00:00 2026\n"
    "-- Server version: 8.0.30\n\nSET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0;\n"
    "SET @OLD_SQL_MODE=@@SQL_MODE;\n"
    f'SET SQL_MODE="NO_AUTO_VALUE_ON_ZERO";\nSET @@SESSION.SQL_LOG_BIN= 0;\n{BODY}SET SQL_MODE=@OLD_SQL_MODE;\n'
    "SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS;\n-- Dump end time: Sun Mar  1 10:00:01 2026\n"
)
PHPMYADMIN = (
    "-- phpMyAdmin SQL Dump\n-- version 5.2.1\n-- https://www.phpmyadmin.net/\n--\n-- Host: 127.0.0.1\n\n"
    'SET SQL_MODE = "NO_AUTO_VALUE_ON_ZERO";\nSTART TRANSACTION;\nSET time_zone = "+00:00";\n\n\n'
    "/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n/*!40101 SET NAMES utf8mb4 */;\n\n"
    f"{BODY}\nALTER TABLE `customers`\n  ADD KEY `email` (`email`);\nCOMMIT;\n\n"
    "/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;\n"
)
HEIDISQL = (
    "-- --------------------------------------------------------\n-- Host:                         127.0.0.1\n"
    "-- Server version:               10.11.6-MariaDB\n-- Server OS:                    Win64\n"
    "-- HeidiSQL Version:             12.8.0.6908\n-- --------------------------------------------------------\n\n"
    f"{_SAVE}\n-- Dumping structure for table shop.customers\n{BODY}\n"
    "/*!40101 SET SQL_MODE=IFNULL(@OLD_SQL_MODE, '') */;\n"
    "/*!40014 SET FOREIGN_KEY_CHECKS=IFNULL(@OLD_FOREIGN_KEY_CHECKS, 1) */;\n"
    "/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;\n"
    "/*!40111 SET SQL_NOTES=IFNULL(@OLD_SQL_NOTES, 1) */;\n"
)
ADMINER = (
    "-- Adminer 4.8.1 MySQL 8.0.32 dump\n\nSET NAMES utf8;\nSET time_zone = '+00:00';\nSET foreign_key_checks = 0;\n"
    f"SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';\n\nSET NAMES utf8mb4;\n\n{BODY}\n\n-- 2026-03-01 10:00:01\n"
)
SEQUEL_ACE = (
    "# ************************************************************\n# Sequel Ace SQL dump\n# Version 20096\n#\n"
    f"# https://sequel-ace.com/\n# ************************************************************\n\n\n"
    f"{_SAVE}\n{_LOCKED}{_GIVE_BACK}"
)
NAVICAT = (
    "/*\n Navicat Premium Data Transfer\n\n Source Server         : it's\n"
    " Source Server Type    : MySQL\n\n Date: 01/03/2026\n*/\n\n"
    f"SET NAMES utf8mb4;\nSET FOREIGN_KEY_CHECKS = 0;\n\n{BODY}\nSET FOREIGN_KEY_CHECKS = 1;\n"
)

SIGNED = {
    "mysqldump": MYSQLDUMP, "mariadb-dump": MARIADB_DUMP, "skip-comments": SKIP_COMMENTS, "mysqlpump": MYSQLPUMP,
    "phpMyAdmin": PHPMYADMIN, "HeidiSQL": HEIDISQL, "Adminer": ADMINER, "Sequel Ace": SEQUEL_ACE, "Navicat": NAVICAT,
}  # fmt: skip
"""Those that say at their end that they are whole."""
