BEGIN TRANSACTION;
CREATE TABLE alias_changes (
	usecase VARCHAR(64) NOT NULL, 
	alias VARCHAR(64) NOT NULL, 
	change INTEGER NOT NULL, 
	version VARCHAR(16) NOT NULL, 
	actor VARCHAR(64) NOT NULL, 
	told BOOLEAN NOT NULL, 
	rollout VARCHAR(128), 
	PRIMARY KEY (usecase, alias, change)
);
INSERT INTO "alias_changes" VALUES('pumps','challenger',1,'1','training',0,'first');
INSERT INTO "alias_changes" VALUES('pumps','champion',1,'1','training',0,NULL);
INSERT INTO "alias_changes" VALUES('pumps','challenger',2,'','deployment',0,NULL);
INSERT INTO "alias_changes" VALUES('pumps','challenger',3,'2','out-of-band',0,'by:start:hand');
INSERT INTO "alias_changes" VALUES('pumps','a name of more than twenty-six letters',1,'1','out-of-band',0,NULL);
INSERT INTO "alias_changes" VALUES('pumps','challenger',4,'3','training',0,'under way');
CREATE TABLE built_features (
	usecase VARCHAR(64) NOT NULL, 
	day VARCHAR(10) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	PRIMARY KEY (usecase, day)
);
INSERT INTO "built_features" VALUES('pumps','2024-03-31','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc');
CREATE TABLE clocks (
	usecase VARCHAR(64) NOT NULL, 
	now BIGINT NOT NULL, 
	PRIMARY KEY (usecase)
);
INSERT INTO "clocks" VALUES('pumps',1711947600000000);
CREATE TABLE data_snapshots (
	number INTEGER NOT NULL, 
	usecase VARCHAR(64) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	version VARCHAR(40) NOT NULL, 
	files INTEGER NOT NULL, 
	rows BIGINT NOT NULL, 
	start DATE, 
	"end" DATE, 
	run VARCHAR(100), 
	PRIMARY KEY (number), 
	UNIQUE (usecase, "key")
);
INSERT INTO "data_snapshots" VALUES(1,'pumps','d1.dir/2024-03-01/2024-03-02/r1','d1.dir',2,120,'2024-03-01','2024-03-02','r1');
CREATE TABLE decisions (
	id VARCHAR(16) NOT NULL, 
	usecase VARCHAR(64) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	as_of VARCHAR(32) NOT NULL, 
	verdict VARCHAR(16) NOT NULL, 
	reasons JSON NOT NULL, 
	evidence JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "decisions" VALUES('f03e8268216ac667','pumps','rollout','2024-04-01T03:00:00+00:00','ROLLBACK','["worse"]','{"subject": {"rollout": "by:start:hand", "stage": "shadow", "out_of_time": false}, "pulse": "2", "plan": 2}');
CREATE TABLE outcomes (
	usecase VARCHAR(64) NOT NULL, 
	prediction_id VARCHAR(128) NOT NULL, 
	label FLOAT NOT NULL, 
	known_at BIGINT NOT NULL, 
	PRIMARY KEY (usecase, prediction_id)
);
INSERT INTO "outcomes" VALUES('pumps','p1',1.0,1712016000000000);
CREATE TABLE partition_history (
	number INTEGER NOT NULL, 
	usecase VARCHAR(64) NOT NULL, 
	"table" VARCHAR(64) NOT NULL, 
	day VARCHAR(10) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	rows INTEGER NOT NULL, 
	added INTEGER, 
	removed INTEGER, 
	as_of BIGINT NOT NULL, 
	start VARCHAR(10) NOT NULL, 
	"end" VARCHAR(10) NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "partition_history" VALUES(1,'pumps','readings','2024-03-31','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',5,NULL,NULL,1711929600000000,'2024-03-31','2024-04-01');
CREATE TABLE predictions (
	usecase VARCHAR(64) NOT NULL, 
	prediction_id VARCHAR(128) NOT NULL, 
	entity VARCHAR(128) NOT NULL, 
	block DATE NOT NULL, 
	predicted_at BIGINT NOT NULL, 
	request JSON NOT NULL, 
	features JSON NOT NULL, 
	ages JSON NOT NULL, 
	"plan" INTEGER NOT NULL, 
	share FLOAT NOT NULL, 
	served VARCHAR(16) NOT NULL, 
	score FLOAT, 
	scores JSON NOT NULL, 
	milliseconds JSON NOT NULL, 
	errors JSON NOT NULL, 
	failed BOOLEAN NOT NULL, 
	PRIMARY KEY (usecase, prediction_id)
);
INSERT INTO "predictions" VALUES('pumps','p1','pump 1','2024-04-01',1711944000000000,'{"pump": "1"}','{"heat": 1.5, "age": null}','{"heat": 60.0, "age": null}',4,0.25,'3',0.25,'{"1": 0.5, "3": 0.25}','{"1": 0.4, "3": 0.6}','{}',0);
INSERT INTO "predictions" VALUES('pumps','p2','pump 1','2024-04-01',1711944000000000,'{"pump": "1"}','{"heat": 1.5, "age": null}','{"heat": 60.0, "age": null}',4,0.25,'1',0.5,'{"1": 0.5, "3": null}','{"1": 0.4, "3": 0.6}','{"3": "no output"}',1);
CREATE TABLE promotion_ledger (
	number INTEGER NOT NULL, 
	usecase VARCHAR(64) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	at BIGINT NOT NULL, 
	actor VARCHAR(64) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	version VARCHAR(16) NOT NULL, 
	previous VARCHAR(16), 
	share FLOAT NOT NULL, 
	reason TEXT NOT NULL, 
	evidence JSON NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (usecase, "key")
);
INSERT INTO "promotion_ledger" VALUES(1,'pumps','register:1',1711929600000000,'training','register','1',NULL,0.0,'decision 0011223344556677 passed it','{"decision_id": "0011223344556677", "sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "data_version": "d1.dir", "run_id": "r1"}');
INSERT INTO "promotion_ledger" VALUES(2,'pumps','alias:challenger:1',1711929600000000,'training','alias challenger','1',NULL,0.0,'alias challenger set to version 1 by training','{"alias": "challenger", "change": 1}');
INSERT INTO "promotion_ledger" VALUES(3,'pumps','alias:champion:1',1711929600000000,'training','alias champion','1',NULL,0.0,'alias champion set to version 1 by training','{"alias": "champion", "change": 1}');
INSERT INTO "promotion_ledger" VALUES(4,'pumps','first:start',1711929600000000,'deployment','start','1',NULL,0.0,'alias challenger, change 1','{"change": 1, "challenger_uri": "models/1", "evaluation_uri": "evaluations/1", "challenger_sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}');
INSERT INTO "promotion_ledger" VALUES(5,'pumps','first:end',1711933200000000,'deployment','promote','1',NULL,1.0,'the first model','{"decision_id": null}');
INSERT INTO "promotion_ledger" VALUES(6,'pumps','alias:challenger:2',1711933200000000,'deployment','alias challenger','','1',0.0,'rollout first has ended','{"alias": "challenger", "change": 2}');
INSERT INTO "promotion_ledger" VALUES(7,'pumps','alias:challenger:3',1711936800000000,'out-of-band','alias challenger','2',NULL,0.0,'alias challenger set to version 2 by out-of-band','{"alias": "challenger", "change": 3}');
INSERT INTO "promotion_ledger" VALUES(8,'pumps','by:start:hand:start',1711936800000000,'ada','start','2','1',0.0,'alias challenger, change 3','{"change": 3, "challenger_uri": "models/2", "evaluation_uri": "evaluations/2", "challenger_sha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "champion_loss": 0.125, "champion_loss_from": "production", "slow_ms": 1.5, "champion_uri": "models/1", "champion_sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}');
INSERT INTO "promotion_ledger" VALUES(9,'pumps','by:start:hand:stage:shadow',1711936800000000,'deployment','advance','2','1',0.0,'stage shadow','{"plan": 2}');
INSERT INTO "promotion_ledger" VALUES(10,'pumps','by:start:hand:end',1711940400000000,'deployment','rollback','2','1',0.0,'worse','{"decision_id": "f03e8268216ac667", "judgement": {"rule": "combined_evidence"}}');
INSERT INTO "promotion_ledger" VALUES(11,'pumps','alias:a name of more than twenty-six letters:1',1711940400000000,'out-of-band','alias a name of more than twenty','1',NULL,1.0,'alias a name of more than twenty-six letters set to version 1 by out-of-band','{"alias": "a name of more than twenty-six letters", "change": 1}');
INSERT INTO "promotion_ledger" VALUES(12,'pumps','alias:challenger:4',1711944000000000,'training','alias challenger','3','2',0.0,'alias challenger set to version 3 by training','{"alias": "challenger", "change": 4}');
INSERT INTO "promotion_ledger" VALUES(13,'pumps','under way:start',1711944000000000,'deployment','start','3','1',0.0,'alias challenger, change 4','{"change": 4, "challenger_uri": "models/3", "evaluation_uri": "evaluations/3", "challenger_sha256": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc", "champion_loss": 0.125, "champion_loss_from": "production", "slow_ms": null, "champion_uri": "models/1", "champion_sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}');
INSERT INTO "promotion_ledger" VALUES(14,'pumps','under way:stage:25',1711944000000000,'deployment','advance','3','1',0.25,'stage 25','{"plan": 4}');
INSERT INTO "promotion_ledger" VALUES(15,'pumps','verify:1:1',1711947600000000,'ada','verify','1',NULL,0.0,'PASS: alike','{"verdict": "PASS"}');
CREATE TABLE quarantine_releases (
	number INTEGER NOT NULL, 
	usecase VARCHAR(64) NOT NULL, 
	"table" VARCHAR(128) NOT NULL, 
	partition VARCHAR(16) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	reason VARCHAR(128) NOT NULL, 
	actor VARCHAR(64) NOT NULL, 
	why TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (usecase, "table", partition, digest, reason)
);
INSERT INTO "quarantine_releases" VALUES(1,'pumps','readings','2024-03-31','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bad_load','ada','known',1711929600000000);
CREATE TABLE routing_plans (
	usecase VARCHAR(64) NOT NULL, 
	version INTEGER NOT NULL, 
	rollout VARCHAR(128) NOT NULL, 
	stage VARCHAR(32) NOT NULL, 
	champion VARCHAR(16) NOT NULL, 
	champion_uri TEXT NOT NULL, 
	champion_sha256 VARCHAR(64) NOT NULL, 
	challenger VARCHAR(16), 
	challenger_uri TEXT, 
	challenger_sha256 VARCHAR(64), 
	share FLOAT NOT NULL, 
	since BIGINT NOT NULL, 
	PRIMARY KEY (usecase, version)
);
INSERT INTO "routing_plans" VALUES('pumps',1,'first','','1','models/1','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',NULL,NULL,NULL,0.0,1711933200000000);
INSERT INTO "routing_plans" VALUES('pumps',2,'by:start:hand','shadow','1','models/1','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','2','models/2','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',0.0,1711936800000000);
INSERT INTO "routing_plans" VALUES('pumps',3,'by:start:hand','','1','models/1','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',NULL,NULL,NULL,0.0,1711940400000000);
INSERT INTO "routing_plans" VALUES('pumps',4,'under way','25','1','models/1','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','3','models/3','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',0.25,1711944000000000);
CREATE TABLE validated_partitions (
	usecase VARCHAR(64) NOT NULL, 
	"table" VARCHAR(64) NOT NULL, 
	day VARCHAR(10) NOT NULL, 
	raw_sha256 VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	PRIMARY KEY (usecase, "table", day)
);
INSERT INTO "validated_partitions" VALUES('pumps','readings','2024-03-31','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb');
CREATE TABLE watermarks (
	usecase VARCHAR(64) NOT NULL, 
	"table" VARCHAR(64) NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (usecase, "table")
);
INSERT INTO "watermarks" VALUES('pumps','readings',1711929600000000);
CREATE INDEX ix_data_snapshots_usecase ON data_snapshots (usecase);
CREATE INDEX ix_data_snapshots_version ON data_snapshots (version);
CREATE INDEX ix_decisions_usecase ON decisions (usecase);
CREATE INDEX ix_partition_history ON partition_history (usecase, "table", day);
CREATE INDEX ix_predictions_predicted_at ON predictions (predicted_at);
CREATE INDEX ix_predictions_progress ON predictions (usecase, "plan", predicted_at, block, failed);
CREATE INDEX ix_promotion_ledger_usecase ON promotion_ledger (usecase);
CREATE TRIGGER promotion_ledger_no_update before update on promotion_ledger begin select raise(abort, 'promotion_ledger is append-only: write another entry instead'); end;
CREATE TRIGGER promotion_ledger_no_delete before delete on promotion_ledger begin select raise(abort, 'promotion_ledger is append-only: write another entry instead'); end;
COMMIT;
