-- A database as it was before the schema had its second version, cut to three messages, with a few
-- octets for what is sealed. It is never changed.

INSERT OR REPLACE INTO counters VALUES
  ('uid_validity', 1795798948);
INSERT INTO accounts VALUES
  (1, 'alice', 0, 0, 0, 9, 1795798896308, '$argon2id$', 27),
  (3, 'ops', 0, 0, 0, 9, 1795798896394, '$argon2id$', 4);
INSERT INTO addresses VALUES
  ('alice@postern.test', 1, 0, 'alice@postern.test'),
  ('ops@postern.test', 3, 0, 'ops@postern.test');
INSERT INTO certs VALUES
  ('*@bounce.test', 'B54A127261BF5962BA8F87EE85DA38432D279D7B', 'pinned', 1795798896404, x'c633046b09b77016');
INSERT INTO messages VALUES
  (2, 'ncdx2j6azmq3w', 1, 'alice', 'alice@postern.test', 0, 1795798900483, 266, 0, 0, 0, 7, '', '', 2, '', '', x'8526d28f53c7da65', x'4dbee8a383bbd22b', x'01eeb26c3541c01e', x'01eeb26c35deabfb'),
  (3, 'ncdx2j65g4cyg', 1, 'alice', 'alice@postern.test', 0, 1795798900596, 236, 0, 0, 0, 7, '', '', 3, '', '', x'9fa408cc6187fb4d', x'510aa7d1c0093826', x'01eeb26c35ea970b', x'01eeb26c35a59b7d'),
  (4, 'ncdx2j7yy4uoo', 1, 'alice', 'alice@postern.test', 0, 1795798900707, 283, 0, 0, 0, 7, '', '', 4, '', '', x'2f58ce4d858ab031', x'6db1f9e9667b86af', x'01eeb26c354465ff', x'01eeb26c35b3556e');
INSERT INTO bodies VALUES
  (3, x'01eeb26c3556612a', 8, x'd2c6e50128940df9', NULL),
  (4, x'01eeb26c35155387', 8, x'd2c6d40178d8621a', NULL);
INSERT INTO stamps VALUES
  ('alice', 1, x'903ef79c0351244b', 0),
  ('alice', 2, x'8526d28f53c7da65', 0),
  ('alice', 3, x'9fa408cc6187fb4d', 0),
  ('alice', 4, x'2f58ce4d858ab031', 0);
INSERT INTO recipients VALUES
  (2, 2, 'x@bounce.test', 'delivered', 0, 0, NULL, '', '[{"addresses":["x@bounce.test"]},{"addresses":["ops@postern.test"],"on":["fail"]}]', '{"retry":"2s*5, 5s*","patience":60000000000,"warn":20000000000,"window":600000000000,"expires":"2026-11-27T18:01:40.483Z","responses":[{"classes":["any"],"actions":[{"do":"alternate"}]}]}'),
  (3, 3, 'a@refuse.test', 'delivered', 0, 0, NULL, '', '[{"addresses":["a@refuse.test"]}]', '{"retry":"2s*5, 5s*","patience":60000000000,"warn":20000000000,"window":600000000000,"expires":"2026-11-27T18:01:40.596Z","responses":[{"classes":["any"],"actions":[{"do":"alternate"}]}]}'),
  (4, 3, 'b@ok.test', 'delivered', 0, 0, 1795799500605, '', '[{"addresses":["b@ok.test"]}]', '{"retry":"2s*5, 5s*","patience":60000000000,"warn":20000000000,"window":600000000000,"expires":"2026-11-27T18:01:40.596Z","responses":[{"classes":["any"],"actions":[{"do":"alternate"}]}]}'),
  (5, 4, 'lab@defer.test', 'delivered', 0, 0, 1795798920707, '', '[{"addresses":["lab@defer.test"]},{"addresses":["ward@ok.test"],"on":["unsent"],"after":600000000000}]', '{"retry":"2s*5, 5s*","patience":60000000000,"warn":20000000000,"window":600000000000,"expires":"2026-11-27T18:01:40.707Z","responses":[{"classes":["any"],"actions":[{"do":"alternate"}]}]}');
INSERT INTO deliveries VALUES
  (2, 2, 0, 'x@bounce.test', NULL, 0, 'failed', 1795798902495, 1795798900483, NULL, 1, 1795798900492, 0, 1, 0, 0, 0, '5.1.1', '{"verdict":"refused","status":"5.1.1","text":"unknown user: \"x\"","remote":"bounce.test","phase":"report","tls":"TLS1.3","sealed":true,"dsn":true}'),
  (3, 2, 1, 'ops@postern.test', 3, 0, 'delivered', 1795798902500, 1795798902495, NULL, 1, 1795798902500, 1, 0, 0, 0, 0, '', '{"verdict":"stored","status":"2.1.5","text":"stored in the mailbox","phase":"mailbox","sealed":true}'),
  (4, 3, 0, 'a@refuse.test', NULL, 0, 'failed', 1795798900603, 1795798900596, NULL, 1, NULL, 0, 0, 0, 0, 32, '5.1.1', '{"verdict":"refused","code":550,"status":"5.1.1","text":"no such user here: this domain refuses all","remote":"127.0.0.1[127.0.0.1]:43883","phase":"rcpt","tls":"TLS1.3","sealed":true}'),
  (5, 4, 0, 'b@ok.test', NULL, 0, 'relayed', 1795798900605, 1795798900596, NULL, 1, 1795798900605, 0, 0, 0, 0, 0, '', '{"verdict":"sent","code":250,"status":"2.0.0","text":"taken as ok.test/2","remote":"127.0.0.1[127.0.0.1]:43883","phase":"dot","tls":"TLS1.3","sealed":true,"dsn":true}'),
  (6, 5, 0, 'lab@defer.test', NULL, 0, 'queued', 1795798904727, 1795798900707, 1795798906727, 3, NULL, 0, 0, 0, 0, 0, '4.3.2', '{"verdict":"deferred","code":451,"status":"4.3.2","text":"not now: this domain defers until it is told otherwise","remote":"127.0.0.1[127.0.0.1]:43883","phase":"rcpt","tls":"TLS1.3","sealed":true}'),
  (7, 5, 1, 'ward@ok.test', NULL, 0, 'standby', 1795798900707, NULL, NULL, 0, NULL, 0, 0, 0, 0, 0, '', '');
INSERT INTO events VALUES
  (4, 2, 1795798900483, 'accepted', '', 'queued', 1, 0, NULL, 0, '', '', ''),
  (6, 2, 1795798900485, 'claim', 'queued', 'sending', 1, 1, 1795800700485, 0, '', '', ''),
  (7, 2, 1795798900492, 'attempt', 'sending', 'relayed', 1, 1, NULL, 0, '', '', '{"verdict":"sent","code":250,"status":"2.0.0","text":"taken as bounce.test/1","remote":"127.0.0.1[127.0.0.1]:43883","phase":"dot","tls":"TLS1.3","sealed":true,"dsn":true}'),
  (36, 2, 1795798902495, 'bounced', 'relayed', 'failed', 1, 1, NULL, 0, 'remote', '', '{"verdict":"refused","status":"5.1.1","text":"unknown user: \"x\"","remote":"bounce.test","phase":"report"}'),
  (5, 3, 1795798900483, 'accepted', '', 'standby', 1, 0, NULL, 0, '', '', ''),
  (37, 3, 1795798902495, 'start', 'standby', 'queued', 1, 0, NULL, 0, '', '', ''),
  (38, 3, 1795798902497, 'claim', 'queued', 'sending', 1, 1, 1795800702497, 0, '', '', ''),
  (39, 3, 1795798902500, 'attempt', 'sending', 'delivered', 1, 1, NULL, 0, '', '', '{"verdict":"stored","status":"2.1.5","text":"stored in the mailbox","phase":"mailbox","sealed":true}'),
  (40, 3, 1795798902500, 'close', 'delivered', 'delivered', 1, 0, NULL, 0, '', '', ''),
  (8, 4, 1795798900596, 'accepted', '', 'queued', 1, 0, NULL, 0, '', '', ''),
  (10, 4, 1795798900598, 'claim', 'queued', 'sending', 1, 1, 1795800700598, 0, '', '', ''),
  (12, 4, 1795798900603, 'attempt', 'sending', 'failed', 1, 1, NULL, 0, '', '', '{"verdict":"refused","code":550,"status":"5.1.1","text":"no such user here: this domain refuses all","remote":"127.0.0.1[127.0.0.1]:43883","phase":"rcpt","tls":"TLS1.3","sealed":true}'),
  (13, 4, 1795798900603, 'told', 'failed', 'failed', 1, 0, NULL, 32, '', '', ''),
  (9, 5, 1795798900596, 'accepted', '', 'queued', 1, 0, NULL, 0, '', '', ''),
  (11, 5, 1795798900598, 'claim', 'queued', 'sending', 1, 1, 1795800700598, 0, '', '', ''),
  (14, 5, 1795798900605, 'attempt', 'sending', 'relayed', 1, 1, NULL, 0, '', '', '{"verdict":"sent","code":250,"status":"2.0.0","text":"taken as ok.test/2","remote":"127.0.0.1[127.0.0.1]:43883","phase":"dot","tls":"TLS1.3","sealed":true,"dsn":true}'),
  (15, 6, 1795798900707, 'accepted', '', 'queued', 1, 0, NULL, 0, '', '', ''),
  (17, 6, 1795798900709, 'claim', 'queued', 'sending', 1, 1, 1795800700709, 0, '', '', ''),
  (18, 6, 1795798900714, 'attempt', 'sending', 'queued', 1, 1, NULL, 0, '', '', '{"verdict":"deferred","code":451,"status":"4.3.2","text":"not now: this domain defers until it is told otherwise","remote":"127.0.0.1[127.0.0.1]:43883","phase":"rcpt","tls":"TLS1.3","sealed":true}'),
  (41, 6, 1795798902714, 'claim', 'queued', 'sending', 1, 2, 1795800702714, 0, '', '', ''),
  (42, 6, 1795798902720, 'attempt', 'sending', 'queued', 1, 2, NULL, 0, '', '', '{"verdict":"deferred","code":451,"status":"4.3.2","text":"not now: this domain defers until it is told otherwise","remote":"127.0.0.1[127.0.0.1]:43883","phase":"rcpt","tls":"TLS1.3","sealed":true}'),
  (45, 6, 1795798904720, 'claim', 'queued', 'sending', 1, 3, 1795800704720, 0, '', '', ''),
  (46, 6, 1795798904727, 'attempt', 'sending', 'queued', 1, 3, NULL, 0, '', '', '{"verdict":"deferred","code":451,"status":"4.3.2","text":"not now: this domain defers until it is told otherwise","remote":"127.0.0.1[127.0.0.1]:43883","phase":"rcpt","tls":"TLS1.3","sealed":true}'),
  (16, 7, 1795798900707, 'accepted', '', 'standby', 1, 0, NULL, 0, '', '', '');
INSERT INTO reports VALUES
  (36, x'01eeb26c35e2fc94');
INSERT INTO entries VALUES
  (1, 7, 21, 672, 1795798902495, 2, 0, 37),
  (1, 4, 23, 673, 1795798902500, 3, 0, 40),
  (3, 11, 4, 8865, 1795798902500, 3, 1, 40),
  (1, 7, 7, 544, 1795798900603, 4, 0, 13),
  (1, 3, 8, 545, 1795798900605, 5, 0, 14),
  (1, 1, 27, 801, 1795798904727, 6, 0, 46);
INSERT INTO mailboxes VALUES
  (5, 1, 'Archive', 0, '\Archive', 1, 1795798900, 1),
  (2, 1, 'Drafts', 0, '\Drafts', 1, 1795798897, 1),
  (1, 1, 'INBOX', 0, '', 1, 1795798896, 4),
  (6, 1, 'Junk', 0, '\Junk', 1, 1795798901, 1),
  (52, 1, 'Own', 0, '', 1, 1795798947, 1),
  (53, 1, 'Own/Deep', 0, '', 1, 1795798948, 2),
  (3, 1, 'Sent', 0, '\Sent', 0, 1795798898, 1),
  (12, 1, 'Status/Acknowledged', 6, '', 1, 1795798907, 1),
  (15, 1, 'Status/Cancelled', 9, '', 1, 1795798910, 1),
  (10, 1, 'Status/Delivered', 4, '', 1, 1795798905, 1),
  (14, 1, 'Status/Expired', 8, '', 1, 1795798909, 1),
  (13, 1, 'Status/Failed', 7, '', 1, 1795798908, 1),
  (8, 1, 'Status/Held', 2, '', 1, 1795798903, 1),
  (16, 1, 'Status/Incoming/Open', 10, '', 1, 1795798911, 1),
  (17, 1, 'Status/Incoming/Settled', 11, '', 1, 1795798912, 1),
  (7, 1, 'Status/Queued', 1, '', 1, 1795798902, 1),
  (11, 1, 'Status/Read', 5, '', 1, 1795798906, 1),
  (9, 1, 'Status/Sent', 3, '', 1, 1795798904, 1),
  (4, 1, 'Trash', 0, '\Trash', 1, 1795798899, 1),
  (39, 3, 'Archive', 0, '\Archive', 1, 1795798934, 1),
  (36, 3, 'Drafts', 0, '\Drafts', 1, 1795798931, 1),
  (35, 3, 'INBOX', 0, '', 1, 1795798930, 3),
  (40, 3, 'Junk', 0, '\Junk', 1, 1795798935, 1),
  (37, 3, 'Sent', 0, '\Sent', 1, 1795798932, 1),
  (46, 3, 'Status/Acknowledged', 6, '', 1, 1795798941, 1),
  (49, 3, 'Status/Cancelled', 9, '', 1, 1795798944, 1),
  (44, 3, 'Status/Delivered', 4, '', 1, 1795798939, 1),
  (48, 3, 'Status/Expired', 8, '', 1, 1795798943, 1),
  (47, 3, 'Status/Failed', 7, '', 1, 1795798942, 1),
  (42, 3, 'Status/Held', 2, '', 1, 1795798937, 1),
  (50, 3, 'Status/Incoming/Open', 10, '', 1, 1795798945, 1),
  (51, 3, 'Status/Incoming/Settled', 11, '', 1, 1795798946, 1),
  (41, 3, 'Status/Queued', 1, '', 1, 1795798936, 1),
  (45, 3, 'Status/Read', 5, '', 1, 1795798940, 1),
  (43, 3, 'Status/Sent', 3, '', 1, 1795798938, 1),
  (38, 3, 'Trash', 0, '\Trash', 1, 1795798933, 1);
INSERT INTO contents VALUES
  (1, 8, x'01eeb26c35cac918', NULL),
  (3, 8, x'01eeb26c357861fd', NULL),
  (4, 8, x'01eeb26c352ddcf2', NULL),
  (5, 8, x'01eeb26c3579ab0a', NULL),
  (6, 8, x'01eeb26c359a0129', NULL);
INSERT INTO mails VALUES
  (1, 1, 0, 1795798900609, 1433, 1, NULL, ''),
  (1, 2, 0, 1795798901161, 1395, 3, NULL, ''),
  (1, 3, 0, 1795798902936, 363, 6, NULL, ''),
  (35, 2, 8832, 1795798902500, 3809, 5, 3, ''),
  (53, 1, 1, 1795798901458, 23, 4, NULL, '$Label1');
