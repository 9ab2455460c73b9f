-- SPDX-License-Identifier: MIT
-- A database in memory: filled, indexed, joined, changed and emptied.
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, city INTEGER, note TEXT);
CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
INSERT INTO city SELECT i, 'city ' || i FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO person SELECT i, 'person ' || (i * 7919 % 120000), i % 500 + 1,
	substr('a note of some length that varies from row to row', 1, i % 48) FROM n;
CREATE INDEX person_name ON person(name);
CREATE INDEX person_city ON person(city);
SELECT count(*), sum(length(note)) FROM person JOIN city ON city.id = person.city
	WHERE city.name LIKE '%7%';
SELECT group_concat(name, ',') FROM (SELECT name FROM person ORDER BY note, name LIMIT 20000)
	GROUP BY length(name) ORDER BY 1 LIMIT 1;
UPDATE person SET note = note || name WHERE id % 3 = 0;
DELETE FROM person WHERE id % 2 = 0;
SELECT count(DISTINCT note) FROM person;
