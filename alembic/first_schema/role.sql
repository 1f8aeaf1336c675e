-- The role that the service works as. It owns nothing, so row-level security applies to it.

do $$
begin
    create role token_ledger_app nologin;
exception when duplicate_object or unique_violation then
    null;  -- roles belong to the server: another database of it has made this one
end $$;

grant token_ledger_app to current_user;
