-- Cache an answer without the end of its query. The next one that ends drops what is too much.
--
-- cache_key: text
-- value: text
-- cache_ms: whole        for how long
--
--> kept
keep_answer(cache_key, value, cache_ms, 0, 0, now_ms())
return reply.kept()
