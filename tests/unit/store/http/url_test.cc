#include "store/http/url.h"

#include <gtest/gtest.h>

namespace weir::store::url_test {
namespace {

TEST(Url, EncodesAsSignaturesWantIt) {
  EXPECT_EQ(percent_encoded("a b+c=d/é~-._", Slashes::stay), "a%20b%2Bc%3Dd/%C3%A9~-._");
  EXPECT_EQ(percent_encoded("a/b", Slashes::are_encoded), "a%2Fb");
  EXPECT_EQ(to_text(Query{{"uploads", ""}, {"prefix", "p/main"}}), "prefix=p%2Fmain&uploads=");
}

TEST(Url, ReadsEndpoints) {
  struct Case {
    const char* text;
    std::optional<std::string> read;
  };
  for (const auto& [text, read] : {
           Case{"https://s3.example.org", "https://s3.example.org"},
           Case{"http://127.0.0.1:9000/", "http://127.0.0.1:9000"},
           Case{"http://[::1]:9000", "http://[::1]:9000"},
           Case{"https://s3.example.org:443", "https://s3.example.org"},
           Case{"http://s3.example.org:443", "http://s3.example.org:443"},
           Case{"s3.example.org", {}},
           Case{"ftp://s3.example.org", {}},
           Case{"https://", {}},
           Case{"https://key:secret@s3.example.org", {}},
           Case{"https://s3.example.org/path", "https://s3.example.org/path"},
           Case{"http://127.0.0.1:9000/a/b-c/", "http://127.0.0.1:9000/a/b-c"},
           Case{"https://s3.example.org//", "https://s3.example.org"},
           Case{"https://s3.example.org/a//b", {}},
           Case{"https://s3.example.org/a/../b", {}},
           Case{"https://s3.example.org/a b", {}},
           Case{"https://s3.example.org/a?b", {}},
           Case{"https://s3.example.org?a", {}},
           Case{"https://s3.example.org:0", {}},
           Case{"https://s3.example.org:99999", {}},
       }) {
    SCOPED_TRACE(text);
    const auto endpoint = Endpoint::parse(text);
    EXPECT_EQ(endpoint ? std::optional(endpoint->to_string()) : std::nullopt, read);
  }
}

TEST(Url, ReadsPlaces) {
  struct Case {
    const char* text;
    std::optional<Place> read;
  };
  for (const auto& [text, read] : {
           Case{"s3://wal", Place{"wal", ""}},
           Case{"s3://wal/", Place{"wal", ""}},
           Case{"s3://wal/pg/main/", Place{"wal", "pg/main"}},
           Case{"s3://my.bucket-1/a b", Place{"my.bucket-1", "a b"}},
           Case{"azure://wal-1/pg/main/", Place{"wal-1", "pg/main", StoreKind::azure}},
           Case{"gs://my_bucket.x/a", Place{"my_bucket.x", "a", StoreKind::gs}},
           // a container of Azure
           Case{"azure://Wal", {}},
           Case{"azure://a.b.c", {}},
           Case{"azure://a--b", {}},
           Case{"azure://-ab", {}},
           Case{"azure://wal/../b", {}},
           Case{"http://wal/pg", {}},
           Case{"wal/pg", {}},
           Case{"s3://", {}},
           Case{"s3:///pg", {}},
           Case{"s3://ab", {}},
           Case{"s3://a..b", {}},
           Case{"s3://wal/a//b", {}},
           Case{"s3://wal/../b", {}},
           Case{"s3://wal/a\nb", {}},
       }) {
    SCOPED_TRACE(text);
    EXPECT_EQ(Place::parse(text), read);
  }
  EXPECT_EQ(Place::parse("s3://wal/pg")->key("x"), "pg/x");
  EXPECT_EQ(Place::parse("s3://wal")->key("x"), "x");
}

}  // namespace
}  // namespace weir::store::url_test
