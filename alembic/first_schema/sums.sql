-- Adding rows to tables of sums, whose primary key says what each sum is of. The columns come from the catalog, so a
-- figure or a dimension that a migration adds to these tables is added up without a change here.

-- The columns of a table in order: those of its primary key, or the others.
create function token_ledger_columns(of_table text, in_key boolean) returns text[]
language sql stable as $$
    select array_agg(quote_ident(a.attname) order by a.attnum)
    from pg_index as i join pg_attribute as a on a.attrelid = i.indrelid
    where i.indrelid = of_table::regclass and i.indisprimary and a.attnum > 0 and not a.attisdropped
      and (a.attnum = any (i.indkey)) = in_key
$$;

-- The statement that adds rows of `source` to a table of sums: grouped by the key, all other columns added up.
-- `instead` has expressions for columns of the key that are not taken from the source as they are.
create function token_ledger_adding(sums text, source text, instead jsonb default '{}') returns text
language sql stable as $$
    select format(
        'insert into %I as t (%s, %s) select %s, %s from %s group by %s on conflict (%s) do update set %s',
        sums, array_to_string(k.names, ', '), array_to_string(f.names, ', '),
        k.expressions, (select string_agg(format('sum(%s)', name), ', ') from unnest(f.names) as name),
        source, k.expressions,
        array_to_string(k.names, ', '),
        (select string_agg(format('%1$s = t.%1$s + excluded.%1$s', name), ', ') from unnest(f.names) as name)
    )
    from (
        select array_agg(name order by place) as names,
               string_agg(coalesce(instead ->> name, name), ', ' order by place) as expressions
        from unnest(token_ledger_columns(sums, true)) with ordinality as key_columns (name, place)
    ) as k, (select token_ledger_columns(sums, false) as names) as f
$$;
