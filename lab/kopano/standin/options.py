# SPDX-License-Identifier: GPL-2.0-or-later
"""The keys that each service knows, with their built-in values, by release.

Only keys that change what the stand-in does have a meaning here; the long lists of others are
known so that an administrator's real file is not refused. Which keys a release knows is what
matters to a cluster: one old key ends the start of a new release (measured).
"""

from __future__ import annotations

from typing import Dict

from .release import Release

SERVICES = ("server", "spooler", "dagent", "monitor", "gateway", "ical", "search", "presence")

_RUN = "/var/run/kopano"

_COMMON = """
    log_method log_file log_level log_timestamp log_buffer_size run_as_user run_as_group pid_file
    running_path coredump_enabled tmp_path statsclient_url statsclient_interval
    statsclient_ssl_verify surveyclient_url surveyclient_interval surveyclient_ssl_verify
""".split()

_WITHOUT_MEANING = {
    "server": """
        allocator_library allow_local_users abtable_initially_empty attachment_compression
        attachment_files_fsync attachment_s3_accesskeyid attachment_s3_bucketname
        attachment_s3_hostname attachment_s3_protocol attachment_s3_region
        attachment_s3_secretaccesskey attachment_s3_uristyle audit_log_enabled audit_log_file
        audit_log_level audit_log_method audit_log_timestamp auth_method cache_acl_size
        cache_cell_size cache_indexedobject_size cache_object_size cache_quota_lifetime
        cache_quota_size cache_server_lifetime cache_server_size cache_sortkey_size
        cache_store_size cache_user_size cache_userdetails_lifetime cache_userdetails_size
        client_update_enabled client_update_log_level client_update_log_path client_update_path
        companyquota_hard companyquota_soft companyquota_warn counter_reset createcompany_script
        creategroup_script createuser_script database_engine default_sort_locale_id
        deletecompany_script deletegroup_script deleteuser_script disabled_features
        embedded_attachment_limit enable_distributed_kopano enable_enhanced_ics enable_gab
        enable_hosted_kopano enable_sql_procedures enable_sso enable_sso_ntlmauth
        enable_test_protocol folder_max_items hide_everyone hide_system index_services_enabled
        index_services_path index_services_search_timeout license_path license_socket
        license_timeout loginname_format max_deferred_records max_deferred_records_folder
        mysql_engine mysql_group_concat_max_len owner_auto_full_access pam_service plugin_path
        proxy_header quota_hard quota_soft quota_warn report_ca_path report_path
        restrict_admin_permissions search_enabled search_socket search_timeout server_hostname
        server_listen_tls server_max_keep_alive_requests server_name server_read_timeout
        server_recv_timeout server_send_timeout server_ssl_ca_file server_ssl_ca_path
        server_ssl_ciphers server_ssl_curves server_ssl_key_file server_ssl_key_pass
        server_ssl_prefer_server_ciphers server_ssl_protocols session_ip_check session_timeout
        shared_reminders socketspec softdelete_lifetime sslkeys_path storename_format
        sync_gab_realtime sync_lifetime sync_log_all_changes system_email_address
        thread_stacksize threads user_plugin user_plugin_config user_safe_mode
        watchdog_frequency watchdog_max_age""",
    "spooler": """
        allow_delegate_meeting_request allow_redirect_spoofing allow_send_to_everyone
        always_send_delegates always_send_tnef always_send_utf8 archive_on_send charset_upgrade
        copy_delegate_mails enable_dsn expand_groups fax_domain fax_international
        log_raw_message log_raw_message_path log_raw_message_stage max_threads plugin_enabled
        plugin_manager_path plugin_path process_model smtp_port smtp_server sslkey_file
        sslkey_pass""",
    "dagent": """
        archive_on_delivery autoresponder default_charset forward_whitelist_domains
        html_safety_filter indexed_headers insecure_html_join lmtp_max_threads log_raw_message
        log_raw_message_path mr_autoaccepter mr_autoprocessor no_double_forward plugin_enabled
        plugin_manager_path plugin_path set_rule_headers spam_header_name spam_header_value
        sslkey_file sslkey_pass unknown_charset_substitutions""",
    "monitor": """
        companyquota_warning_template mailquota_resend_interval quota_check_interval
        userquota_hard_template userquota_soft_template userquota_warning_template sslkey_file
        sslkey_pass servers""",
    "gateway": """
        bypass_auth disable_plaintext_auth html_safety_filter imap_always_generate
        imap_capability_idle imap_cache_folders_time_limit imap_expunge_on_delete
        imap_generate_utf8 imap_ignore_command_idle imap_max_fail_commands imap_max_messagesize
        imap_only_mailfolders imap_public_folders imap_store_rfc822 imaps_listen pop3s_listen
        server_hostname server_hostname_greeting ssl_ca_file ssl_ca_path ssl_certificate_file
        ssl_ciphers ssl_curves ssl_prefer_server_ciphers ssl_private_key_file ssl_protocols
        ssl_verify_client ssl_verify_file ssl_verify_path sslkey_file sslkey_pass
        thread_stacksize""",
    "ical": """
        default_charset enable_ical_get icals_listen process_model server_timezone
        ssl_ca_file ssl_certificate_file ssl_ciphers ssl_curves ssl_enable_v2
        ssl_prefer_server_ciphers ssl_private_key_file ssl_protocols ssl_verify_client
        ssl_verify_file ssl_verify_path sslkey_file sslkey_pass""",
    "search": """
        cache_size index_attachment_extension_filter index_attachment_max_size
        index_attachment_mime_filter index_attachments index_drafts index_exclude_properties
        index_junk index_path index_processes limit_results plugin_path search_engine
        server_bind_name ssl_certificate_file ssl_private_key_file sslkey_file sslkey_pass
        suggestions term_cache_size""",
    "presence": """
        plugins data_path server_auth_user server_auth_password server_bind server_port
        server_secret_key server_token_expire session_timeout xmpp_jid xmpp_password
        xmpp_user_id_strip_domain""",
}

_MEANING: Dict[str, Dict[str, str]] = {
    "server": {
        "attachment_path": "/var/lib/kopano/attachments",
        "attachment_storage": "files",
        "local_admin_users": "root",
        "mysql_database": "kopano",
        "mysql_host": "localhost",
        "mysql_password": "",
        "mysql_port": "3306",
        "mysql_socket": "",
        "mysql_user": "root",
        "server_pipe_enabled": "yes",
        "server_pipe_name": f"{_RUN}/server.sock",
        "server_pipe_priority": f"{_RUN}/prio.sock",
    },
    "spooler": {"server_socket": "default:"},
    # Two processes were seen without any setting, which is what process_model = fork looks like.
    "dagent": {"server_socket": "default:", "process_model": "fork"},
    "monitor": {"server_socket": "default:"},
    "gateway": {"server_socket": "http://localhost:236/", "process_model": "thread"},
    "ical": {"server_socket": "http://localhost:236/"},
    "search": {"server_socket": "default:"},
    "presence": {"server_socket": "default:"},
}

_LISTEN: Dict[str, Dict[str, str]] = {
    "server": {"server_listen": "*:236"},
    "dagent": {"lmtp_listen": "*:2003"},
    "gateway": {"imap_listen": "*:143", "pop3_listen": "*:110"},
    "ical": {"ical_listen": "*:8080"},
}

_BIND: Dict[str, Dict[str, str]] = {
    "server": {"server_bind": "", "server_tcp_enabled": "yes", "server_tcp_port": "236",
               "server_ssl_enabled": "no", "server_ssl_port": "237"},
    "dagent": {"server_bind": "", "lmtp_port": "2003"},
    "gateway": {"server_bind": "", "imap_enable": "yes", "imap_port": "143",
                "imaps_enable": "no", "imaps_port": "993", "pop3_enable": "yes",
                "pop3_port": "110", "pop3s_enable": "no", "pop3s_port": "995"},
    "ical": {"server_bind": "", "ical_enable": "yes", "ical_port": "8080",
             "icals_enable": "no", "icals_port": "8443"},
}


def defaults(service: str, release: Release) -> Dict[str, str]:
    """Return every key that ``service`` knows in ``release`` with its built-in value."""
    known = dict.fromkeys(_COMMON + _WITHOUT_MEANING[service].split(), "")
    known.update(_MEANING[service])
    known.update(
        log_method="auto", log_level="3", log_timestamp="1",
        run_as_user="kopano", run_as_group="kopano", pid_file=f"{_RUN}/{service}.pid")
    if release.has_listen_key(service):
        known.update(_LISTEN.get(service, {}))
    if release.has_bind_keys:
        known.update(_BIND.get(service, {}))
        if service in ("dagent", "gateway", "ical") and not release.has_listen_key(service):
            # The TLS keys of the newer style came with it.
            for key in ("imaps_listen", "pop3s_listen", "icals_listen"):
                known.pop(key, None)
    return known
