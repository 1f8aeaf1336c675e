-- The rows that are there from the start: the operator's tenant, and partitions for this month and the next three.

insert into tenants (tenant_id, name) overriding system value values (0, 'operator');
insert into tenant_ledgers (tenant_id) values (0);
select token_ledger_add_partitions(3);
