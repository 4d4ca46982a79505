#include "pq/conninfo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>

#include "base/error.h"
#include "pq/connection.h"

namespace weir::pq::conninfo_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(SplitHosts, FollowsLibpqsRules) {
  const struct {
    const char* name;
    const char* host;
    const char* hostaddr;
    const char* port;
    std::optional<std::vector<Host>> hosts;  // nullopt: Error{usage}
  } cases[] = {
      {"nothing", "", "", "", {{{"", "", ""}}}},
      {"one", "a", "", "5433", {{{"a", "", "5433"}}}},
      {"one port for all", "a,b", "", "5433", {{{"a", "", "5433"}, {"b", "", "5433"}}}},
      {"no port", "a,b", "", "", {{{"a", "", ""}, {"b", "", ""}}}},
      {"a port each", "a,b", "", "1,2", {{{"a", "", "1"}, {"b", "", "2"}}}},
      {"an empty port", "a,b", "", "1,", {{{"a", "", "1"}, {"b", "", ""}}}},
      {"an empty host", "a,", "", "", {{{"a", "", ""}, {"", "", ""}}}},
      {"only addresses", "", "1.1.1.1,::1", "", {{{"", "1.1.1.1", ""}, {"", "::1", ""}}}},
      {"names and addresses", "a,b", "1.1.1.1,", "7", {{{"a", "1.1.1.1", "7"}, {"b", "", "7"}}}},
      {"more names than addresses", "a,b", "1.1.1.1", "", std::nullopt},
      {"fewer names than addresses", "a", "1.1.1.1,::1", "", std::nullopt},
      {"more ports than hosts", "a,b", "", "1,2,3", std::nullopt},
      {"fewer ports than hosts", "a,b,c", "", "1,2", std::nullopt},
      {"no number", "a", "", "x", std::nullopt},
      {"number and more", "a", "", "12x", std::nullopt},
      {"port 0", "a", "", "0", std::nullopt},
      {"port too large", "a", "", "65536", std::nullopt},
      {"port much too large", "a", "", "99999999999999", std::nullopt},
      {"negative port", "a", "", "-1", std::nullopt},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    try {
      const std::vector<Host> hosts = split_hosts(each.host, each.hostaddr, each.port);
      ASSERT_TRUE(each.hosts.has_value()) << "accepted";
      EXPECT_TRUE(hosts == *each.hosts);
    } catch (const Error& error) {
      EXPECT_FALSE(each.hosts.has_value()) << error.what();
      EXPECT_EQ(error.kind(), ErrorKind::usage);
    }
  }
}

TEST(HostsOf, AreThoseOfTheConnectionString) {
  const auto hosts = hosts_of(std::string("host=a,b hostaddr=192.0.2.1,192.0.2.2 port=5433"));
  ASSERT_EQ(hosts.size(), 2u);
  EXPECT_EQ(hosts[1], (Host{"b", "192.0.2.2", "5433"}));
  EXPECT_EQ(hosts_of(ConninfoValues{{"host", "a,b"}, {"port", "1,2"}}).at(1).port, "2");
}

TEST(FindHost, FindsTheHostOfThatName) {
  const std::string conninfo = "host=db1,db2,::1 port=5432,5433,5434";
  EXPECT_EQ(find_host(conninfo, "db2:5433"), 1u);
  EXPECT_EQ(find_host(conninfo, "[::1]:5434"), 2u);
  EXPECT_FALSE(find_host(conninfo, "db2:5432"));
  EXPECT_FALSE(find_host(conninfo, ""));
}

TEST(Host, IsNamedAsAnOperatorWouldNameIt) {
  EXPECT_EQ((Host{"db1", "", "5433"}).to_string(), "db1:5433");
  EXPECT_EQ((Host{"db1", "10.0.0.1", ""}).to_string(), "db1:5432");
  EXPECT_EQ((Host{"", "::1", ""}).to_string(), "[::1]:5432");
  EXPECT_EQ((Host{"/run/pg", "", "6"}).to_string(), "/run/pg/.s.PGSQL.6");
  EXPECT_TRUE((Host{"", "", ""}).local());
  EXPECT_TRUE((Host{"@abstract", "", ""}).local());
  EXPECT_FALSE((Host{"db1", "", ""}).local());
  EXPECT_FALSE((Host{"/run/pg", "1.1.1.1", ""}).local());
}

TEST(Conninfo, NeverShowsAPassword) {
  for (const char* conninfo : {
           "host=a password=hunter2 user=u",
           "postgresql://u:hunter2@a/db",
           "postgresql://u:hunter2@a:port:/db",
           "postgresql://u:hunter2@[a/db",
           "postgres://u@a/db?password=hunter2",
           "postgres://u@a/db?password=%zzhunter2",
           "host=a password=my hunter2 user=u",
           "host=a password='hunter2",
           "host=a sslpassword=hunter2 nonsense",
           "host=a dbname=postgresql://u:hunter2@b/c",
           "host=a dbname='host=b password=hunter2'",
           "PASSWORD=hunter2 x",
       }) {
    SCOPED_TRACE(conninfo);
    EXPECT_THAT(describe(conninfo), Not(HasSubstr("hunter2")));
    try {
      static_cast<void>(expand_conninfo(conninfo));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_THAT(error.what() + error.hint(), Not(HasSubstr("hunter2")));
    }
  }
}

TEST(Conninfo, IsDescribedByWhereItLeads) {
  EXPECT_EQ(describe("host=a,b port=1,2 user=u password=p dbname=d sslmode=require"),
            "host=a,b port=1,2 user=u dbname=d");
  EXPECT_EQ(describe("postgresql://u:p@a:1,b:2/d"), "host=a,b port=1,2 user=u dbname=d");
  EXPECT_EQ(describe("host=/run/pg"), "host=/run/pg");
  EXPECT_EQ(describe(""), "(libpq's defaults)");
  EXPECT_EQ(describe("host"), "(unreadable connection string)");
}

TEST(Conninfo, GivesItsOwnValues) {
  EXPECT_EQ(conninfo_value("host=a dbname='x y'", "dbname"), "x y");
  EXPECT_EQ(conninfo_value("postgres://u@h/d%20e", "dbname"), "d e");
  EXPECT_EQ(conninfo_value("host=a", "dbname"), std::nullopt);
  EXPECT_EQ(conninfo_value("host=a dbname=''", "dbname"), std::nullopt);
  EXPECT_EQ(conninfo_value("", "host"), std::nullopt);
  EXPECT_THROW(static_cast<void>(conninfo_value("host", "host")), Error);
}

TEST(Conninfo, IsRefusedWithTheReason) {
  const struct {
    const char* conninfo;
    const char* reason;
  } cases[] = {
      {"hots=a", "hots"},
      {"host", "missing"},
      {"host='a", "unterminated"},
      {"host=a sslmode=maybe", "sslmode"},
      {"host=a target_session_attrs=fast", "target_session_attrs"},
      {"host=a channel_binding=perhaps", "channel_binding"},
      {"host=a,b port=1,2,3", "port"},
      {"service=no-such-service-here", "no-such-service-here"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.conninfo);
    try {
      static_cast<void>(expand_conninfo(each.conninfo));
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_THAT(error.what(), HasSubstr(each.reason));
      EXPECT_THAT(error.what(), Not(HasSubstr("probe")));
    }
  }
  EXPECT_THROW(static_cast<void>(parse_conninfo(std::string("host=a\0b", 8))), Error);
}

/// Sets an environment variable for a test.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    setenv(name, value.c_str(), 1);
  }
  ~Environment() { unsetenv(name_); }

 private:
  const char* name_;
};

TEST(ExpandConninfo, AddsServiceFileAndEnvironment) {
  const std::string path = ::testing::TempDir() + "/pgweir-services-" + std::to_string(getpid());
  std::ofstream(path) << "[weir]\nhost=x,y\nport=7\nuser=archiver\npassword=hunter2\n"
                         "target_session_attrs=prefer-standby\nchannel_binding=disable\n";
  const Environment file("PGSERVICEFILE", path);
  const Environment user("PGUSER", "other");
  const Environment name("PGAPPNAME", "named");
  ConninfoValues values = expand_conninfo("service=weir port=8 password=given");
  std::remove(path.c_str());
  EXPECT_EQ(values["host"], "x,y");
  EXPECT_EQ(values["port"], "8");
  EXPECT_EQ(values["user"], "archiver");
  EXPECT_EQ(values["application_name"], "named");
  EXPECT_EQ(values["target_session_attrs"], "prefer-standby");
  EXPECT_EQ(values["channel_binding"], "disable");
  EXPECT_EQ(values["password"], "given");
  EXPECT_EQ(values["service"], "weir");
}

}  // namespace
}  // namespace weir::pq::conninfo_test
