-- The tables of schema 0001_initial, as SQLite keeps them. Never changed: what comes later is a migration.
CREATE TABLE alembic_version (version_num VARCHAR(64) NOT NULL PRIMARY KEY);
CREATE TABLE flavor (
	id VARCHAR(255) NOT NULL,
	name VARCHAR(255) NOT NULL,
	vcpus INTEGER NOT NULL,
	memory_mb INTEGER NOT NULL,
	root_gb INTEGER NOT NULL,
	ephemeral_gb INTEGER NOT NULL,
	swap_mb INTEGER NOT NULL,
	rxtx_factor FLOAT NOT NULL,
	is_public BOOLEAN NOT NULL,
	disabled BOOLEAN NOT NULL,
	description TEXT,
	extra_specs TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT,
	PRIMARY KEY (id),
	UNIQUE (name)
);
CREATE TABLE flavor_access (
	flavor_id VARCHAR(255) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	PRIMARY KEY (flavor_id, project_id),
	FOREIGN KEY(flavor_id) REFERENCES flavor (id) ON DELETE CASCADE
);
CREATE TABLE guest (
	host_id VARCHAR(36) NOT NULL,
	server_id VARCHAR(36) NOT NULL,
	fence INTEGER NOT NULL,
	version INTEGER NOT NULL,
	spec TEXT NOT NULL,
	observed TEXT,
	seen INTEGER NOT NULL,
	PRIMARY KEY (host_id, server_id)
);
CREATE TABLE host (
	id VARCHAR(36) NOT NULL,
	name VARCHAR(255) NOT NULL,
	up BOOLEAN NOT NULL,
	enabled BOOLEAN NOT NULL,
	disabled_reason TEXT NOT NULL,
	zone VARCHAR(255) NOT NULL,
	boot_id VARCHAR(64) NOT NULL,
	incarnation VARCHAR(64) NOT NULL,
	hypervisor_type VARCHAR(32) NOT NULL,
	hypervisor_version INTEGER NOT NULL,
	architecture VARCHAR(32) NOT NULL,
	cpu_info TEXT NOT NULL,
	vcpus_total INTEGER NOT NULL,
	memory_total INTEGER NOT NULL,
	disk_total INTEGER NOT NULL,
	vcpus_capacity INTEGER NOT NULL,
	memory_capacity INTEGER NOT NULL,
	disk_capacity INTEGER NOT NULL,
	memory_overhead INTEGER NOT NULL,
	vcpus_used INTEGER NOT NULL,
	memory_used INTEGER NOT NULL,
	disk_used INTEGER NOT NULL,
	report_seq BIGINT NOT NULL,
	version BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (name)
);
CREATE TABLE host_claim (
	host_id VARCHAR(36) NOT NULL,
	consumer VARCHAR(64) NOT NULL,
	vcpus INTEGER NOT NULL,
	memory_mb INTEGER NOT NULL,
	disk_gb INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (host_id, consumer)
);
CREATE TABLE host_debt (
	host_id VARCHAR(36) NOT NULL,
	server_id VARCHAR(36) NOT NULL,
	fence INTEGER NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (host_id, server_id)
);
CREATE TABLE identity_assignment (
	user_id VARCHAR(64) NOT NULL,
	target_kind VARCHAR(16) NOT NULL,
	target_id VARCHAR(64) NOT NULL,
	role_id VARCHAR(64) NOT NULL,
	PRIMARY KEY (user_id, target_kind, target_id, role_id)
);
CREATE TABLE identity_domain (
	id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	description TEXT NOT NULL,
	enabled BOOLEAN NOT NULL,
	valid_after BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	extra TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (name)
);
CREATE TABLE identity_epoch (
	subject VARCHAR(80) NOT NULL,
	epoch BIGINT NOT NULL,
	PRIMARY KEY (subject)
);
CREATE TABLE identity_history (
	kind VARCHAR(16) NOT NULL,
	id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	deleted_at BIGINT NOT NULL,
	"row" TEXT NOT NULL,
	PRIMARY KEY (kind, id)
);
CREATE TABLE identity_implication (
	prior_id VARCHAR(64) NOT NULL,
	implied_id VARCHAR(64) NOT NULL,
	PRIMARY KEY (prior_id, implied_id)
);
CREATE TABLE identity_project (
	id VARCHAR(64) NOT NULL,
	name VARCHAR(64) NOT NULL,
	domain_id VARCHAR(64) NOT NULL,
	parent_id VARCHAR(64),
	description TEXT NOT NULL,
	enabled BOOLEAN NOT NULL,
	valid_after BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	extra TEXT NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT identity_project_name UNIQUE (domain_id, name)
);
CREATE TABLE identity_revocation (
	audit_id VARCHAR(32) NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (audit_id)
);
CREATE TABLE identity_role (
	id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	domain_id VARCHAR(64) NOT NULL,
	description TEXT,
	created_at BIGINT NOT NULL,
	extra TEXT NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT identity_role_name UNIQUE (domain_id, name)
);
CREATE TABLE identity_user (
	id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	domain_id VARCHAR(64) NOT NULL,
	enabled BOOLEAN NOT NULL,
	default_project_id VARCHAR(64),
	password VARCHAR(255),
	password_expires_at BIGINT,
	valid_after BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	extra TEXT NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT identity_user_name UNIQUE (domain_id, name)
);
CREATE TABLE image (
	id VARCHAR(36) NOT NULL,
	owner VARCHAR(64) NOT NULL,
	name VARCHAR(255),
	status VARCHAR(16) NOT NULL,
	visibility VARCHAR(16) NOT NULL,
	disk_format VARCHAR(20),
	container_format VARCHAR(20),
	min_disk INTEGER NOT NULL,
	min_ram INTEGER NOT NULL,
	protected BOOLEAN NOT NULL,
	hidden BOOLEAN NOT NULL,
	size BIGINT,
	virtual_size BIGINT,
	md5 VARCHAR(32),
	sha512 VARCHAR(128),
	blob VARCHAR(80),
	properties TEXT NOT NULL,
	tags TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	progress_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE image_history (
	id VARCHAR(36) NOT NULL,
	owner VARCHAR(64) NOT NULL,
	name VARCHAR(255),
	deleted_at BIGINT NOT NULL,
	document TEXT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE image_label (
	image_id VARCHAR(36) NOT NULL,
	kind VARCHAR(1) NOT NULL,
	name VARCHAR(255) NOT NULL,
	value VARCHAR(255) NOT NULL,
	PRIMARY KEY (image_id, kind, name),
	FOREIGN KEY(image_id) REFERENCES image (id) ON DELETE CASCADE
);
CREATE TABLE keypair (
	number INTEGER NOT NULL,
	user_id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	type VARCHAR(8) NOT NULL,
	fingerprint VARCHAR(255) NOT NULL,
	public_key TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (number),
	UNIQUE (user_id, name)
);
CREATE TABLE network (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	description TEXT NOT NULL,
	admin_up BOOLEAN NOT NULL,
	shared BOOLEAN NOT NULL,
	external BOOLEAN NOT NULL,
	mtu INTEGER NOT NULL,
	dns_domain VARCHAR(255) NOT NULL,
	port_security BOOLEAN NOT NULL,
	tags TEXT NOT NULL,
	revision BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE network_address (
	subnet_id VARCHAR(36) NOT NULL,
	position VARCHAR(32) NOT NULL,
	address VARCHAR(64) NOT NULL,
	port_id VARCHAR(36) NOT NULL,
	PRIMARY KEY (subnet_id, position),
	FOREIGN KEY(subnet_id) REFERENCES network_subnet (id),
	FOREIGN KEY(port_id) REFERENCES network_port (id) ON DELETE CASCADE
);
CREATE TABLE network_pool (
	subnet_id VARCHAR(36) NOT NULL,
	first VARCHAR(32) NOT NULL,
	last VARCHAR(32) NOT NULL,
	cursor VARCHAR(32) NOT NULL,
	PRIMARY KEY (subnet_id, first),
	FOREIGN KEY(subnet_id) REFERENCES network_subnet (id) ON DELETE CASCADE
);
CREATE TABLE network_port (
	id VARCHAR(36) NOT NULL,
	network_id VARCHAR(36) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	description TEXT NOT NULL,
	admin_up BOOLEAN NOT NULL,
	mac VARCHAR(17) NOT NULL,
	device_id VARCHAR(255) NOT NULL,
	device_owner VARCHAR(255) NOT NULL,
	host_id VARCHAR(255) NOT NULL,
	hostname VARCHAR(255) NOT NULL,
	status VARCHAR(16) NOT NULL,
	port_security BOOLEAN NOT NULL,
	nic_index INTEGER,
	made BOOLEAN NOT NULL,
	tag VARCHAR(255) NOT NULL,
	tags TEXT NOT NULL,
	revision BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT network_port_mac UNIQUE (network_id, mac),
	CONSTRAINT network_port_nic UNIQUE (device_id, nic_index),
	FOREIGN KEY(network_id) REFERENCES network (id)
);
CREATE TABLE network_port_group (
	port_id VARCHAR(36) NOT NULL,
	group_id VARCHAR(36) NOT NULL,
	PRIMARY KEY (port_id, group_id),
	FOREIGN KEY(port_id) REFERENCES network_port (id) ON DELETE CASCADE,
	FOREIGN KEY(group_id) REFERENCES security_group (id)
);
CREATE TABLE network_router (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	description TEXT NOT NULL,
	admin_up BOOLEAN NOT NULL,
	gateway_network_id VARCHAR(36),
	snat BOOLEAN NOT NULL,
	routes TEXT NOT NULL,
	tags TEXT NOT NULL,
	revision BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(gateway_network_id) REFERENCES network (id)
);
CREATE TABLE network_subnet (
	id VARCHAR(36) NOT NULL,
	network_id VARCHAR(36) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	description TEXT NOT NULL,
	ip_version INTEGER NOT NULL,
	cidr VARCHAR(64) NOT NULL,
	gateway_ip VARCHAR(64),
	enable_dhcp BOOLEAN NOT NULL,
	dns_servers TEXT NOT NULL,
	host_routes TEXT NOT NULL,
	ra_mode VARCHAR(20) NOT NULL,
	address_mode VARCHAR(20) NOT NULL,
	tags TEXT NOT NULL,
	revision BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(network_id) REFERENCES network (id)
);
CREATE TABLE operation (
	id VARCHAR(36) NOT NULL,
	flow VARCHAR(64) NOT NULL,
	action VARCHAR(64) NOT NULL,
	kind VARCHAR(32) NOT NULL,
	subject_id VARCHAR(64) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	user_id VARCHAR(64) NOT NULL,
	request_id VARCHAR(64) NOT NULL,
	step VARCHAR(64) NOT NULL,
	frame TEXT NOT NULL,
	parent_id VARCHAR(36),
	created_at BIGINT NOT NULL,
	root_id VARCHAR(36) NOT NULL,
	child_id VARCHAR(36),
	undoing BOOLEAN NOT NULL,
	done TEXT NOT NULL,
	failure TEXT,
	worker VARCHAR(36),
	fence INTEGER NOT NULL,
	run_at BIGINT,
	step_at BIGINT NOT NULL,
	wait_kind VARCHAR(32),
	wait_id VARCHAR(64),
	PRIMARY KEY (id)
);
CREATE TABLE operation_event (
	id INTEGER NOT NULL,
	operation_id VARCHAR(36) NOT NULL,
	step VARCHAR(64) NOT NULL,
	event VARCHAR(64) NOT NULL,
	undo BOOLEAN NOT NULL,
	attempts INTEGER NOT NULL,
	started_at BIGINT NOT NULL,
	finished_at BIGINT NOT NULL,
	host VARCHAR(255) NOT NULL,
	result VARCHAR(16) NOT NULL,
	details TEXT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE operation_history (
	id VARCHAR(36) NOT NULL,
	flow VARCHAR(64) NOT NULL,
	action VARCHAR(64) NOT NULL,
	kind VARCHAR(32) NOT NULL,
	subject_id VARCHAR(64) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	user_id VARCHAR(64) NOT NULL,
	request_id VARCHAR(64) NOT NULL,
	step VARCHAR(64) NOT NULL,
	frame TEXT NOT NULL,
	parent_id VARCHAR(36),
	created_at BIGINT NOT NULL,
	outcome VARCHAR(16) NOT NULL,
	error TEXT,
	finished_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE operation_lock (
	kind VARCHAR(32) NOT NULL,
	id VARCHAR(64) NOT NULL,
	operation_id VARCHAR(36) NOT NULL,
	PRIMARY KEY (kind, id)
);
CREATE TABLE quota_charge (
	consumer VARCHAR(100) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	amounts TEXT NOT NULL,
	version INTEGER NOT NULL,
	PRIMARY KEY (consumer)
);
CREATE TABLE quota_limit (
	project_id VARCHAR(64) NOT NULL,
	resource VARCHAR(64) NOT NULL,
	"limit" BIGINT NOT NULL,
	PRIMARY KEY (project_id, resource)
);
CREATE TABLE quota_use (
	project_id VARCHAR(64) NOT NULL,
	resource VARCHAR(64) NOT NULL,
	used BIGINT NOT NULL,
	PRIMARY KEY (project_id, resource)
);
CREATE TABLE security_group (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	description TEXT NOT NULL,
	default_of VARCHAR(64),
	tags TEXT NOT NULL,
	revision BIGINT NOT NULL,
	members_version BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (default_of)
);
CREATE TABLE security_group_rule (
	id VARCHAR(36) NOT NULL,
	group_id VARCHAR(36) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	direction VARCHAR(8) NOT NULL,
	ethertype VARCHAR(8) NOT NULL,
	protocol VARCHAR(16),
	port_min INTEGER,
	port_max INTEGER,
	remote_prefix VARCHAR(64),
	remote_group VARCHAR(36),
	description TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(group_id) REFERENCES security_group (id) ON DELETE CASCADE,
	FOREIGN KEY(remote_group) REFERENCES security_group (id) ON DELETE CASCADE
);
CREATE TABLE server (
	id VARCHAR(36) NOT NULL,
	ec2_id VARCHAR(20) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	user_id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	description VARCHAR(255),
	hostname VARCHAR(255) NOT NULL,
	phase VARCHAR(32) NOT NULL,
	fence INTEGER NOT NULL,
	version INTEGER NOT NULL,
	host_id VARCHAR(36),
	host_name VARCHAR(255) NOT NULL,
	zone VARCHAR(255) NOT NULL,
	requested_zone VARCHAR(255),
	flavor TEXT NOT NULL,
	image_id VARCHAR(36) NOT NULL,
	image TEXT NOT NULL,
	"key" TEXT,
	user_data TEXT NOT NULL,
	config_drive BOOLEAN NOT NULL,
	metadata TEXT NOT NULL,
	nics TEXT NOT NULL,
	security_groups TEXT NOT NULL,
	admin_password VARCHAR(255) NOT NULL,
	reservation_id VARCHAR(32) NOT NULL,
	launch_index INTEGER NOT NULL,
	power VARCHAR(16) NOT NULL,
	fault TEXT,
	locked BOOLEAN NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	launched_at BIGINT NOT NULL,
	terminated_at BIGINT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (ec2_id)
);
CREATE TABLE server_history (
	id VARCHAR(36) NOT NULL,
	project_id VARCHAR(64) NOT NULL,
	user_id VARCHAR(64) NOT NULL,
	name VARCHAR(255) NOT NULL,
	created_at BIGINT NOT NULL,
	deleted_at BIGINT NOT NULL,
	record TEXT NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE server_idempotency (
	project_id VARCHAR(64) NOT NULL,
	"key" VARCHAR(255) NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	server_ids TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (project_id, "key")
);
CREATE TABLE worker (
	id VARCHAR(36) NOT NULL,
	renewed_at BIGINT NOT NULL,
	PRIMARY KEY (id)
);
CREATE INDEX flavor_access_by_project ON flavor_access (project_id);
CREATE INDEX flavor_by_size ON flavor (memory_mb, root_gb, vcpus, id);
CREATE INDEX guest_server ON guest (server_id);
CREATE INDEX host_claim_consumer ON host_claim (consumer);
CREATE INDEX identity_assignment_role ON identity_assignment (role_id);
CREATE INDEX identity_assignment_target ON identity_assignment (target_kind, target_id);
CREATE INDEX identity_project_parent ON identity_project (parent_id);
CREATE INDEX image_by_blob ON image (blob);
CREATE INDEX image_by_name ON image (name, id);
CREATE INDEX image_by_owner ON image (owner, created_at, id);
CREATE INDEX image_by_status ON image (status, progress_at);
CREATE INDEX image_by_time ON image (created_at, id);
CREATE INDEX image_by_visibility ON image (visibility, created_at, id);
CREATE INDEX image_label_by_name ON image_label (kind, name, value);
CREATE INDEX ix_host_version ON host (version);
CREATE INDEX ix_identity_history_deleted_at ON identity_history (deleted_at);
CREATE INDEX ix_identity_revocation_expires_at ON identity_revocation (expires_at);
CREATE INDEX ix_image_history_deleted_at ON image_history (deleted_at);
CREATE INDEX ix_image_history_owner ON image_history (owner);
CREATE INDEX ix_network_address_address ON network_address (address);
CREATE INDEX ix_network_address_port_id ON network_address (port_id);
CREATE INDEX ix_network_port_device_owner ON network_port (device_owner);
CREATE INDEX ix_network_port_host_id ON network_port (host_id);
CREATE INDEX ix_network_port_mac ON network_port (mac);
CREATE INDEX ix_network_port_project_id ON network_port (project_id);
CREATE INDEX ix_network_project_id ON network (project_id);
CREATE INDEX ix_network_router_gateway_network_id ON network_router (gateway_network_id);
CREATE INDEX ix_network_router_project_id ON network_router (project_id);
CREATE INDEX ix_network_subnet_project_id ON network_subnet (project_id);
CREATE INDEX ix_operation_event_operation_id ON operation_event (operation_id);
CREATE INDEX ix_operation_history_finished_at ON operation_history (finished_at);
CREATE INDEX ix_operation_lock_operation_id ON operation_lock (operation_id);
CREATE INDEX ix_operation_root_id ON operation (root_id);
CREATE INDEX ix_quota_charge_project_id ON quota_charge (project_id);
CREATE INDEX ix_security_group_project_id ON security_group (project_id);
CREATE INDEX ix_security_group_rule_group_id ON security_group_rule (group_id);
CREATE INDEX ix_security_group_rule_project_id ON security_group_rule (project_id);
CREATE INDEX ix_security_group_rule_remote_group ON security_group_rule (remote_group);
CREATE INDEX ix_server_history_deleted_at ON server_history (deleted_at);
CREATE INDEX ix_server_host_id ON server (host_id);
CREATE INDEX ix_server_idempotency_created_at ON server_idempotency (created_at);
CREATE INDEX ix_server_phase ON server (phase);
CREATE INDEX ix_server_reservation_id ON server (reservation_id);
CREATE INDEX ix_server_updated_at ON server (updated_at);
CREATE INDEX network_order ON network (created_at, id);
CREATE INDEX network_port_group_group ON network_port_group (group_id, port_id);
CREATE INDEX network_port_order ON network_port (created_at, id);
CREATE INDEX network_router_order ON network_router (created_at, id);
CREATE INDEX network_subnet_network ON network_subnet (network_id, created_at, id);
CREATE INDEX network_subnet_order ON network_subnet (created_at, id);
CREATE INDEX operation_history_subject ON operation_history (kind, subject_id);
CREATE INDEX operation_runnable ON operation (worker, run_at);
CREATE INDEX operation_subject ON operation (kind, subject_id);
CREATE INDEX operation_waiter ON operation (wait_kind, wait_id);
CREATE INDEX security_group_order ON security_group (created_at, id);
CREATE INDEX security_group_rule_order ON security_group_rule (created_at, id);
CREATE INDEX server_history_page ON server_history (project_id, created_at, id);
CREATE INDEX server_name ON server (project_id, name);
CREATE INDEX server_page ON server (project_id, created_at, id);
CREATE INDEX server_page_all ON server (created_at, id);
INSERT INTO alembic_version (version_num) VALUES ('0001_initial');
